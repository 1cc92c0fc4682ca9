"""Versions of a secret, and of what is made of it."""

from app.core.versions import Versions


def test_what_is_made_has_the_versions_of_what_it_is_made_of():
    for given in (Versions(1), Versions(1, 2), Versions(1, coming=3), Versions(1, 2, 3)):
        made = given.map(str)
        assert made == Versions(*(None if each is None else str(each) for each in given))
        assert made.all() == tuple(str(each) for each in given.all())


def test_the_current_version_comes_first_and_none_that_is_not_there():
    assert Versions(1).all() == (1,)
    assert Versions(1, coming=3).all() == (1, 3)
    assert Versions(1, 2, 3).all() == (1, 2, 3)
