"""Policies: what a project and a key may do, and what becomes of a request under them.

    models, agents       globs; a name that fits none of them is refused
    deny_tools           globs of tool types
    networks             where requests may come from
    max_output_tokens    more is refused, nothing is made this much
    store                client | never | always
    retention_days       kept no longer than this
    rpm, tpm, concurrent what the rate limits are

Without a rule everything is allowed. A key has the rules of its project and its own: the stricter
one counts, so no policy of a key lets it do more than its project.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Any, Literal, get_args

from app.core.model import Json, Request

Network = IPv4Network | IPv6Network
Store = Literal["client", "never", "always"]
Globs = tuple[tuple[str, ...], ...]
"""Groups of globs: one of every group has to fit. No group lets everything pass, an empty one nothing."""

_MOST_ENTRIES, _LONGEST_GLOB, _LARGEST = 100, 256, 2**53
_GLOB = re.compile(r"[A-Za-z0-9_.:/@*?-]+")
_TOOL_GLOB = re.compile(r"[a-z0-9_*?]+")
_NOT_PLAIN = re.compile(r"[^a-z0-9*?]")
_SAME_TOOL: Mapping[str, str] = MappingProxyType(
    {
        "functiondeclarations": "function",
        "googlesearchretrieval": "googlesearch",
        "mcpservers": "mcpserver",
    }
)
"""Tools that have two names, without what separates their words."""


class Unreadable(ValueError):
    """This is no policy; the message names the field."""


class Forbidden(Exception):
    """The key may not do this; the message names the rule."""


class Unfit(Exception):
    """The key may do this, but not with this value; the message names the field."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a project, of a key, or of both together."""

    models: Globs = ()
    agents: Globs = ()
    deny_tools: tuple[str, ...] = ()
    networks: tuple[tuple[Network, ...], ...] = ()
    max_output_tokens: int | None = None
    store: Store = "client"
    retention_days: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None

    def keeps(self, days: int) -> int:
        """How many days something is kept that would be kept for `days`."""
        return days if self.retention_days is None else min(days, self.retention_days)

    @property
    def reads_bodies(self) -> bool:
        """Whether any rule is about what stands in a request's body."""
        return bool(self.models or self.agents or self.deny_tools) or self.max_output_tokens is not None


FREE = Policy()
"""The policy without rules."""


def combine(project: Policy, key: Policy) -> Policy:
    """What a key of this project may do: what both allow; where they contradict, what the project says."""
    if key == FREE:
        return project
    return Policy(
        models=_groups(project.models, key.models),
        agents=_groups(project.agents, key.agents),
        deny_tools=_groups(project.deny_tools, key.deny_tools),
        networks=_groups(project.networks, key.networks),
        max_output_tokens=_least(project.max_output_tokens, key.max_output_tokens),
        store=key.store if project.store == "client" else project.store,
        retention_days=_least(project.retention_days, key.retention_days),
        rpm=_least(project.rpm, key.rpm),
        tpm=_least(project.tpm, key.tpm),
        concurrent=_least(project.concurrent, key.concurrent),
    )


def check_network(policy: Policy, address: str | None) -> None:
    """Let only addresses of the allowed networks pass. Raises Forbidden."""
    if not policy.networks:
        return
    found = parsed(address)
    for group in policy.networks:
        if found is None or not any(found in network for network in group):
            raise Forbidden(f"This key may not be used from {address or 'here'} (policy: networks).")


def check_model(policy: Policy, name: str) -> None:
    """Let only allowed models pass. Raises Forbidden."""
    if not _fits(policy.models, name.removeprefix("models/")):
        raise Forbidden(f"This key may not use the model '{_shown(name)}' (policy: models).")


def check_agent(policy: Policy, name: str) -> None:
    """Let only allowed agents pass. Raises Forbidden."""
    if not _fits(policy.agents, name.removeprefix("agents/")):
        raise Forbidden(f"This key may not use the agent '{_shown(name)}' (policy: agents).")


def check_tools(policy: Policy, types: Iterable[str]) -> None:
    """Let no denied type of tool pass, however it is written. Raises Forbidden."""
    if not policy.deny_tools:
        return
    denied = [_plain(pattern) for pattern in policy.deny_tools]
    for each in types:
        names = {_plain(each), _squeezed(each)}
        if any(fnmatchcase(name, pattern) for name in names for pattern in denied):
            raise Forbidden(f"This key may not use the tool '{_shown(each)}' (policy: deny_tools).")


def admit(policy: Policy, request: Request) -> Request:
    """The request as the policy has it. Raises Forbidden and Unfit."""
    if request.model is not None:
        check_model(policy, request.model)
    if request.agent is not None:
        check_agent(policy, request.agent)
    if policy.deny_tools:
        check_tools(policy, (str(tool.get("type")) for tool in request.options.get("tools") or ()))
    if policy.max_output_tokens is not None:
        request = replace(request, options=_capped(policy.max_output_tokens, request))
    return request if policy.store == "client" else _stored(policy.store, request)


def cap(most: int, config: Any, name: str) -> Json:
    """A generation config with this maximum of output tokens, or with the lower one that it has.

    Raises Unfit for a higher one; `name` is the config's own.
    """
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise Unfit(f"'{name}' must be an object.")
    given = {field: value for field, value in config.items() if _squeezed(field) == "maxoutputtokens"}
    for field, value in given.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value > most):
            text = f"'{name}.{field}' may be at most {most} with this key (policy: max_output_tokens)."
            raise Unfit(text)
    if any(value is not None for value in given.values()):
        return config
    field = "max_output_tokens" if "_" in name else "maxOutputTokens"
    return {**{key: value for key, value in config.items() if key not in given}, field: most}


def parsed(address: str | None) -> IPv4Address | IPv6Address | None:
    """The address in this text; one of IPv4 that is written in IPv6 is one of IPv4."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def read(given: Json) -> Policy:
    """The policy of these fields; null is a rule that is not there. Raises Unreadable."""
    unknown = sorted(given.keys() - _READERS.keys())
    if unknown:
        raise Unreadable(f"'{_shown(unknown[0])}': a policy has no such field.")
    return Policy(**{name: _READERS[name](name, value) for name, value in given.items() if value is not None})


def written(policy: Policy) -> Json:
    """The fields of a policy that has not been combined: `read` makes it again."""
    found: Json = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        if value != field.default:
            found[field.name] = _WRITERS[field.name](value) if field.name in _WRITERS else value
    return found


def changed(policy: Policy, changes: Json) -> Policy:
    """The policy with these fields changed; null takes a rule away. Raises Unreadable."""
    return read({**written(policy), **changes})


def _groups(project: tuple[Any, ...], key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*project, *key)))


def _least(project: int | None, key: int | None) -> int | None:
    if project is None or key is None:
        return key if project is None else project
    return min(project, key)


def _fits(globs: Globs, name: str) -> bool:
    return all(any(fnmatchcase(name, glob) for glob in group) for group in globs)


def _plain(tool: str) -> str:
    """One name for all that the schemas call the same tool."""
    squeezed = _squeezed(tool)
    return _SAME_TOOL.get(squeezed, squeezed)


def _squeezed(name: str) -> str:
    """A name without what the schemas write differently: codeExecution, code_execution."""
    return _NOT_PLAIN.sub("", name.lower())


def _capped(most: int, request: Request) -> Json:
    """The options with a maximum of output tokens; an agent's is only looked at: it need not have one."""
    options = dict(request.options)
    kind = "generation_config" if request.model is not None else "agent_config"
    names = [name for name in options if _squeezed(name) == _squeezed(kind)]
    for name in names if request.agent is not None else names or [kind]:
        capped = cap(most, options.get(name), name)
        if request.model is not None:
            options[name] = capped
    return options


def _stored(store: Store, request: Request) -> Request:
    if store == "always":
        if not request.store:
            raise Unfit("'store' must be true with this key: what it does is kept (policy: store).")
        return request
    if request.background:
        text = "'background' needs 'store', and nothing is kept of what this key does (policy: store)."
        raise Unfit(text)
    return replace(request, store=False)


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "..."


def _read_globs(shape: re.Pattern[str], name: str, value: Any) -> tuple[str, ...]:
    entries = _read_list(name, value)
    for entry in entries:
        if len(entry) > _LONGEST_GLOB or not shape.fullmatch(entry):
            raise Unreadable(f"'{name}': '{_shown(entry)}' is no pattern of names.")
    return entries


def _read_networks(name: str, value: Any) -> tuple[tuple[Network, ...]]:
    try:
        return (tuple(ip_network(entry) for entry in _read_list(name, value)),)
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"'{name}': {error}: write networks as 10.0.0.0/8.") from None


def _read_list(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise Unreadable(f"'{name}' must be a list of texts.")
    if len(value) > _MOST_ENTRIES:
        raise Unreadable(f"'{name}' has more than {_MOST_ENTRIES} entries.")
    return tuple(dict.fromkeys(value))


def _read_store(name: str, value: Any) -> Store:
    if value not in get_args(Store):
        raise Unreadable(f"'{name}' is one of {', '.join(get_args(Store))}.")
    found: Store = value
    return found


def _read_number(least: int, most: int, name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Unreadable(f"'{name}' must be a whole number from {least} to {most}.")
    return value


_COUNT = partial(_read_number, 1, _LARGEST)
_READERS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "models": lambda name, value: (_read_globs(_GLOB, name, value),),
        "agents": lambda name, value: (_read_globs(_GLOB, name, value),),
        "deny_tools": partial(_read_globs, _TOOL_GLOB),
        "networks": _read_networks,
        "max_output_tokens": _COUNT,
        "store": _read_store,
        "retention_days": partial(_read_number, 0, 36_500),
        "rpm": _COUNT,
        "tpm": _COUNT,
        "concurrent": _COUNT,
    }
)
_WRITERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "models": lambda groups: list(groups[0]),
        "agents": lambda groups: list(groups[0]),
        "deny_tools": list,
        "networks": lambda groups: [str(network) for network in groups[0]],
    }
)
