"""Mounts: which file systems are shared, by the list of them that Linux has."""

from pathlib import Path

import pytest

from app.store.mounts import shared

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 27 0:40 / /srv/team rw,relatime shared:5 master:1 - nfs4 files.example:/team rw,vers=4.2
31 30 8:2 / /srv/team/local rw - ext4 /dev/sdb1 rw
32 27 0:41 / /mnt/two\040words rw - cifs //files.example/x rw
33 27 0:42 / /mnt/covered rw - nfs files.example:/y rw
34 33 8:3 / /mnt/covered rw - xfs /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/team/gateway.db", "nfs4"),
        ("/srv/team/a/b/gateway.db", "nfs4"),
        ("/srv/team", "nfs4"),
        ("/srv/team/local/gateway.db", None),
        ("/srv/teammate/gateway.db", None),
        ("/mnt/two words/gateway.db", "cifs"),
        ("/mnt/covered/gateway.db", None),
        ("/var/lib/gateway.db", None),
    ],
)
def test_p8_the_nearest_mount_decides(path: str, kind: str | None):
    assert shared(Path(path), MOUNTS) == kind


def test_a_list_that_says_nothing_refuses_nothing():
    assert shared(Path("/srv/team/gateway.db"), "") is None
