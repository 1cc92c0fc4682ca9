"""Policing: the caller's policy is applied to what it asks for.

403 says that the key may not do this: another model, agent or tool, another network. 400 says that
it may, but not so: too many output tokens, `store` as the policy does not have it.
"""

import contextlib
from collections.abc import Iterator

from app.auth.caller import Caller
from app.core import policy as policies
from app.core.model import Json, Request
from app.core.policy import FREE, Forbidden, Policy, Unfit
from app.errors import InvalidRequest, PermissionDenied
from app.wire import wishes
from app.wire.resources import Call


def admit(caller: Caller, request: Request) -> Request:
    """An interaction as the caller's policy has it. Raises PermissionDenied and InvalidRequest."""
    if caller.policy is FREE:
        return request
    with _told():
        return policies.admit(caller.policy, request)


def admit_call(caller: Caller, call: Call) -> None:
    """Let only allowed models be called. Raises PermissionDenied."""
    model = wishes.model(call)
    if model and caller.policy.models:
        with _told():
            policies.check_model(caller.policy, model)


def admit_body(caller: Caller, call: Call, body: Json) -> Json:
    """The body of a call as the caller's policy has it. Raises PermissionDenied and InvalidRequest."""
    if not caller.policy.reads_bodies:
        return body
    with _told():
        for wish in wishes.of_body(call, body):
            _check(caller.policy, wish)
        most = caller.policy.max_output_tokens
        return body if most is None else wishes.capped(call, body, most)


def _check(policy: Policy, wish: wishes.Wish) -> None:
    if wish.kind == "model":
        policies.check_model(policy, wish.name)
    elif wish.kind == "agent":
        policies.check_agent(policy, wish.name)
    elif wish.kind == "tool":
        policies.check_tools(policy, (wish.name,))
    elif wish.kind == "unseen" and (policy.deny_tools or policy.max_output_tokens is not None):
        raise Forbidden(
            f"'{wish.name}': requests in a file cannot be looked into "
            "(policy: deny_tools, max_output_tokens)."
        )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the policy says, as an error of the API."""
    try:
        yield
    except Forbidden as refused:
        raise PermissionDenied(str(refused)) from None
    except Unfit as refused:
        raise InvalidRequest(str(refused)) from None
