"""Policies: what a project and a key may do, and what becomes of a request under them.

    models, agents       globs; a name that fits none of them is refused
    deny_tools           globs of tool types
    networks             where requests may come from
    max_output_tokens    more is refused, nothing is made this much
    store                client | never | always
    retention_days       kept no longer than this
    rpm, tpm, concurrent what the rate limits are
    model_limits         the same for the models and agents that fit a pattern

Without a rule everything is allowed. A key has the rules of its project and its own: the stricter
one counts, so no policy of a key lets it do more than its project. `app.core.rules` reads and writes them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from types import MappingProxyType
from typing import Any, Literal

from app.core.model import Json, Request
from app.core.quota import ModelLimits, Rates

Network = IPv4Network | IPv6Network
Store = Literal["client", "never", "always"]
Globs = tuple[tuple[str, ...], ...]
"""Groups of globs: one of every group has to fit. No group lets everything pass, an empty one nothing."""

_NOT_PLAIN = re.compile(r"[^a-z0-9*?]")
_SAME_TOOL: Mapping[str, str] = MappingProxyType(
    {
        "functiondeclarations": "function",
        "googlesearchretrieval": "googlesearch",
        "mcpservers": "mcpserver",
    }
)
"""Tools that have two names, without what separates their words."""


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
    model_limits: ModelLimits = ()

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
        model_limits=_least_rates(project.model_limits, key.model_limits),
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
        raise Forbidden(f"This key may not use the model '{shown(name)}' (policy: models).")


def check_agent(policy: Policy, name: str) -> None:
    """Let only allowed agents pass. Raises Forbidden."""
    if not _fits(policy.agents, name.removeprefix("agents/")):
        raise Forbidden(f"This key may not use the agent '{shown(name)}' (policy: agents).")


def check_tools(policy: Policy, types: Iterable[str]) -> None:
    """Let no denied type of tool pass, however it is written. Raises Forbidden."""
    if not policy.deny_tools:
        return
    denied = [_plain(pattern) for pattern in policy.deny_tools]
    for each in types:
        names = {_plain(each), _squeezed(each)}
        if any(fnmatchcase(name, pattern) for name in names for pattern in denied):
            raise Forbidden(f"This key may not use the tool '{shown(each)}' (policy: deny_tools).")


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


def shown(name: str) -> str:
    """A name as it stands in a message."""
    return name if len(name) <= 80 else name[:80] + "..."


def _groups(project: tuple[Any, ...], key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*project, *key)))


def _least(project: int | None, key: int | None) -> int | None:
    if project is None or key is None:
        return key if project is None else project
    return min(project, key)


def _least_rates(project: ModelLimits, key: ModelLimits) -> ModelLimits:
    both = dict(project)
    for pattern, rates in key:
        both[pattern] = Rates(*map(_least, both.get(pattern, Rates()), rates))
    return tuple(sorted(both.items()))


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
