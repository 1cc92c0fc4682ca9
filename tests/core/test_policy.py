"""Policies: what they refuse, what they change, and that a key can never do more than its project."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import policy
from app.core.model import Json, Request
from app.core.policy import FREE, Forbidden, Policy, Unfit, combine
from app.core.quota import Rates
from app.core.rules import Unreadable, changed, read, written

MODELS = ("gemini-flash", "gemini-pro", "gemma", "tunedModels/x")
TOOLS = ("function", "code_execution", "mcp_server", "google_search")
NUMBERS = ("max_output_tokens", "retention_days", "rpm", "tpm", "concurrent")
RATES = st.fixed_dictionaries(
    {}, optional={name: st.none() | st.integers(1, 5) for name in ("rpm", "tpm", "concurrent")}
)


def ask(**fields: object) -> Request:
    """A request to a model, with these fields."""
    ours = ("model", "agent", "store", "background")
    known: Json = {name: fields.pop(name) for name in ours if name in fields}
    target: Json = {} if "agent" in known else {"model": "gemini-flash"}
    return Request(input=[], **(target | known), options=fields)


def globs(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([*names, "gem*", "*", "*-pro", "?emma", "none"]), max_size=3)


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "models": globs(MODELS),
        "agents": globs(("deep-research", "mine")),
        "deny_tools": st.lists(st.sampled_from([*TOOLS, "*", "m*"]), max_size=3),
        "networks": st.lists(
            st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"]),
            max_size=3,
        ),
        "store": st.sampled_from(["client", "never", "always"]),
        **{name: st.integers(1, 5) for name in NUMBERS},
        "model_limits": st.dictionaries(
            st.sampled_from([*MODELS, "gem*", "*"]), st.none() | RATES, max_size=4
        ),
    },
)
POLICIES = FIELDS.map(read)
ADDRESSES = st.sampled_from(
    [None, "", "10.1.2.3", "10.1.9.9", "10.200.0.1", "::ffff:10.1.2.3", "2001:db8::7", "8.8.8.8"]
)
REQUESTS = st.builds(
    Request,
    input=st.just([]),
    model=st.sampled_from(MODELS),
    store=st.booleans(),
    options=st.fixed_dictionaries(
        {},
        optional={
            "tools": st.lists(st.sampled_from(TOOLS).map(lambda each: {"type": each}), max_size=2),
            "generation_config": st.fixed_dictionaries(
                {}, optional={"max_output_tokens": st.integers(1, 7), "temperature": st.just(1)}
            ),
        },
    ),
) | st.builds(Request, input=st.just([]), agent=st.sampled_from(["deep-research", "mine"]))


@given(POLICIES, POLICIES, REQUESTS)
def test_what_a_key_may_ask_its_project_may_ask(project: Policy, key: Policy, request: Request):
    both = combine(project, key)
    try:
        admitted = policy.admit(both, request)
    except (Forbidden, Unfit):
        return
    policy.admit(project, request)
    assert policy.admit(project, admitted) == admitted, "nothing is left for the project to refuse or change"
    if (project.store, key.store) not in {("always", "never"), ("never", "always")}:
        assert policy.admit(key, admitted) == admitted


@given(POLICIES, POLICIES, ADDRESSES)
def test_where_a_key_may_be_used_its_project_may_be(project: Policy, key: Policy, address: str | None):
    try:
        policy.check_network(combine(project, key), address)
    except Forbidden:
        return
    policy.check_network(project, address)
    policy.check_network(key, address)


@given(POLICIES, POLICIES, st.integers(0, 10))
def test_no_number_of_a_key_is_more_than_its_projects(project: Policy, key: Policy, days: int):
    both = combine(project, key)
    assert both.keeps(days) <= min(project.keeps(days), key.keeps(days), days)
    for name in NUMBERS:
        found = [value for value in (getattr(project, name), getattr(key, name)) if value is not None]
        assert getattr(both, name) == min(found, default=None)


@given(POLICIES, POLICIES)
def test_every_limit_of_either_for_a_model_counts(project: Policy, key: Policy):
    both = dict(combine(project, key).model_limits)
    assert both.keys() == dict(project.model_limits).keys() | dict(key.model_limits).keys()
    for pattern, rates in both.items():
        for name, limit in rates._asdict().items():
            given_ = [dict(each.model_limits).get(pattern, Rates()) for each in (project, key)]
            found = [getattr(each, name) for each in given_ if getattr(each, name) is not None]
            assert limit == min(found, default=None)


@given(POLICIES)
def test_a_policy_without_rules_changes_nothing(some: Policy):
    assert combine(some, FREE) == combine(FREE, some) == combine(some, some) == some


@given(FIELDS)
def test_what_is_written_is_read_again(fields: Json):
    some = read(fields)
    assert read(written(some)) == some


@given(REQUESTS)
def test_without_rules_every_request_stays_as_it_is(request: Request):
    assert policy.admit(FREE, request) is request


def refusal(rules: Json, request: Request) -> str:
    with pytest.raises(Forbidden) as refused:
        policy.admit(read(rules), request)
    return str(refused.value)


def test_models_and_agents_are_allowed_by_globs():
    flash = {"models": ["gemini-*-flash", "gemma"]}
    for model in ("gemini-3-flash", "models/gemini-3-flash", "gemma"):
        policy.admit(read(flash), ask(model=model))
    for model in ("gemini-3-pro", "Gemma", "gemma2", "models/models/gemma", " gemma", "gemini-3-flash\n"):
        assert "(policy: models)" in refusal(flash, ask(model=model))
    policy.admit(read(flash), ask(agent="any-agent"))
    research = {"agents": ["deep-research-*"], "models": []}
    policy.admit(read(research), ask(agent="agents/deep-research-9"))
    assert "(policy: agents)" in refusal(research, ask(agent="mine"))
    assert "(policy: models)" in refusal(research, ask(model="gemma"))


@pytest.mark.parametrize(
    ("denied", "used"),
    [
        ("code_execution", "code_execution"),
        ("code_execution", "codeExecution"),
        ("code_execution", "CODE_EXECUTION"),
        ("code_execution", "code-execution "),
        ("function", "functionDeclarations"),
        ("function", "function_declarations"),
        ("function_declarations", "function"),
        ("mcp_server", "mcpServers"),
        ("google_search", "googleSearchRetrieval"),
        ("google_search_retrieval*", "googleSearchRetrieval"),
        ("google_*", "google_maps"),
        ("*", "what_comes_next_year"),
    ],
)
def test_a_denied_tool_is_found_however_it_is_written(denied: str, used: str):
    rules = {"deny_tools": [denied]}
    assert "(policy: deny_tools)" in refusal(
        rules, ask(tools=[{"type": "url_context"} if denied != "*" else {"type": "x"}, {"type": used}])
    )


def test_other_tools_are_not_denied():
    some = read({"deny_tools": ["mcp_server", "code_execution"]})
    policy.admit(
        some, ask(tools=[{"type": each} for each in ("function", "google_search", "server", "code")])
    )
    policy.admit(some, ask(tools=None))


@pytest.mark.parametrize(
    "options",
    [
        {"generation_config": {"max_output_tokens": 101}},
        {"generation_config": {"maxOutputTokens": 101}},
        {"generationConfig": {"maxOutputTokens": 101}},
        {"generation_config": {"max_output_tokens": 5, "maxOutputTokens": 101}},
        {"generation_config": {"max_output_tokens": 5}, "generationConfig": {"maxOutputTokens": 101}},
        {"generation_config": {"max_output_tokens": "5"}},
        {"generation_config": {"max_output_tokens": 5.0}},
        {"generation_config": {"max_output_tokens": True}},
        {"generation_config": "no object"},
    ],
)
def test_more_output_than_allowed_is_refused_by_name(options: Json):
    with pytest.raises(Unfit, match=r"'generation_?[cC]onfig"):
        policy.admit(read({"max_output_tokens": 100}), ask(**options))


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({}, {"generation_config": {"max_output_tokens": 100}}),
        ({"generation_config": {"top_p": 1}}, {"generation_config": {"top_p": 1, "max_output_tokens": 100}}),
        (
            {"generation_config": {"max_output_tokens": None}},
            {"generation_config": {"max_output_tokens": 100}},
        ),
        ({"generation_config": {"max_output_tokens": 7}}, {"generation_config": {"max_output_tokens": 7}}),
        ({"generationConfig": {"topP": 1}}, {"generationConfig": {"topP": 1, "maxOutputTokens": 100}}),
    ],
)
def test_nothing_means_the_most_that_is_allowed(given_: Json, kept: Json):
    request = ask(**given_)
    before = dict(request.options)
    assert policy.admit(read({"max_output_tokens": 100}), request).options == kept
    assert request.options == before


def test_an_agent_is_given_no_maximum_but_may_not_name_a_higher_one():
    some = read({"max_output_tokens": 100})
    assert policy.admit(some, ask(agent="a", agent_config={"type": "x"})).options == {
        "agent_config": {"type": "x"}
    }
    with pytest.raises(Unfit, match=r"'agent_config\.max_output_tokens' may be at most 100"):
        policy.admit(some, ask(agent="a", agent_config={"max_output_tokens": 101}))


def test_store_is_what_the_policy_says():
    never, always = read({"store": "never"}), read({"store": "always"})
    assert policy.admit(never, ask()).store is False
    assert policy.admit(never, ask(store=False)).store is False
    with pytest.raises(Unfit, match="'background' needs 'store'"):
        policy.admit(never, ask(background=True))
    assert policy.admit(always, ask(background=True)) == ask(background=True)
    with pytest.raises(Unfit, match="'store' must be true"):
        policy.admit(always, ask(store=False))
    assert combine(never, always).store == "never"
    assert combine(always, never).store == "always"


def test_an_address_is_one_however_it_is_written():
    office = read({"networks": ["10.0.0.0/8", "2001:db8::/32"]})
    for inside in ("10.1.2.3", "::ffff:10.1.2.3", "2001:DB8::1"):
        policy.check_network(office, inside)
    for outside in ("11.1.2.3", "::ffff:11.1.2.3", "::10.1.2.3", "10.1.2", "0x0a010203", "", None):
        with pytest.raises(Forbidden, match="policy: networks"):
            policy.check_network(office, outside)


def test_rules_are_changed_one_by_one():
    some = read({"models": ["a"], "rpm": 5})
    other = changed(some, {"rpm": None, "tpm": 9})
    assert written(other) == {"models": ["a"], "tpm": 9}
    assert changed(other, {"models": None, "tpm": None}) == FREE
    assert written(FREE) == {}


def test_limits_for_models_are_changed_one_by_one():
    some = read({"model_limits": {"b*": {"rpm": 1, "tpm": 2}, "a": {"concurrent": 3}}})
    assert written(some) == {"model_limits": {"a": {"concurrent": 3}, "b*": {"rpm": 1, "tpm": 2}}}
    other = changed(some, {"model_limits": {"b*": {"rpm": None, "concurrent": 9}, "c": {"rpm": 4}}})
    kept = {"a": {"concurrent": 3}, "b*": {"tpm": 2, "concurrent": 9}, "c": {"rpm": 4}}
    assert written(other) == {"model_limits": kept}
    fewer = changed(other, {"model_limits": {"a": None, "b*": {"tpm": None, "concurrent": None}}})
    assert written(fewer) == {"model_limits": {"c": {"rpm": 4}}}
    assert changed(fewer, {"model_limits": {}}) == fewer
    assert changed(fewer, {"model_limits": None}) == FREE


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"modles": ["a"]}, "modles"),
        ({"models": "a"}, "models"),
        ({"models": [1]}, "models"),
        ({"models": ["a b"]}, "models"),
        ({"models": [""]}, "models"),
        ({"models": ["a" * 257]}, "models"),
        ({"models": ["a"] * 101}, "models"),
        ({"agents": ["[a-z]"]}, "agents"),
        ({"deny_tools": ["mcp-server"]}, "deny_tools"),
        ({"networks": ["10.0.0.1/8"]}, "networks"),
        ({"networks": ["office"]}, "networks"),
        ({"networks": "10.0.0.0/8"}, "networks"),
        ({"store": "sometimes"}, "store"),
        ({"store": ["never"]}, "store"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"retention_days": -1}, "retention_days"),
        ({"rpm": 1.5}, "rpm"),
        ({"tpm": 2**60}, "tpm"),
        ({"concurrent": "3"}, "concurrent"),
        ({"model_limits": ["a"]}, "'model_limits' must be an object"),
        ({"model_limits": {"a b": {"rpm": 1}}}, "'model_limits': 'a b' is no pattern"),
        ({"model_limits": {"a*": 5}}, r"'model_limits\.a\*' must be an object"),
        ({"model_limits": {"a": {"rmp": 1}}}, r"'model_limits\.a\.rmp': a policy has no such field"),
        ({"model_limits": {"a": {"tpm": 0}}}, r"'model_limits\.a\.tpm' must be a whole number"),
        ({"model_limits": {f"a{number}": {"rpm": 1} for number in range(101)}}, "model_limits"),
    ],
)
def test_what_is_no_policy_is_refused_by_name(fields: Json, named: str):
    with pytest.raises(Unreadable, match=named):
        read(fields)
