"""What is said about the two signals. Texts stay the same for as long as what they say, so they are news only once."""

from __future__ import annotations

from registry.liveness.probes import Prober
from registry.liveness.table import Api, ClusterState, DataPlane, Rules
from registry.model.conditions import Condition, ConditionType
from registry.model.standing import Standing


def api_fresh(rules: Rules, state: ClusterState) -> Condition | None:
    """Whether the API server was heard of lately, and what that does to the cluster's endpoints.

    None where it is only just asked for the first time.
    """

    def said(status: bool, reason: str, message: str = "") -> Condition:
        return Condition(ConditionType.API_FRESH, status, reason, message)

    if state.api is Api.FRESH and state.held_back:
        return said(
            True,
            "Flapping",
            f"it came and went too often: {_ENDPOINTS[state.standing]} until it was there for {rules.hold:g} s",
        )
    if state.api is Api.FRESH:
        return said(True, "Heard")
    if state.api is Api.AWAITED:
        return None
    what = f"for {rules.stale:g} s" if state.heard else "since the start"
    return said(False, "Quiet", f"nothing was heard of its API server {what}: {_ENDPOINTS[state.standing]}")


def data_plane_up(prober: Prober, state: ClusterState) -> Condition | None:
    """Whether the data plane answers; None where nothing is known yet."""

    def said(status: bool, reason: str, message: str = "") -> Condition:
        return Condition(ConditionType.DATA_PLANE_UP, status, reason, message)

    if state.data_plane is DataPlane.UP:
        return said(True, "Answered", str(prober.plan))
    if state.data_plane is DataPlane.DOWN:
        consequence = "its API server's word on its endpoints counts" if state.api is Api.FRESH else ""
        consequence = consequence or _ENDPOINTS[state.standing]
        return said(False, prober.down_for, f"{prober.plan} does not answer: {consequence}")
    if prober.tally.failed >= prober.plan.down:
        return said(False, "NeverAnswered", f"{prober.plan} never answered: can they be reached from here? Not counted")
    return None


_ENDPOINTS = {
    Standing.CURRENT: "its endpoints stay as they are",
    Standing.KEPT: "its endpoints stay as they are",
    Standing.DEMOTED: "its endpoints come one priority later, but for clients in it",
    Standing.EVICTED: "its endpoints are left out where a service has others, but for clients in it",
}
