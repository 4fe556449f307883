"""What clients were promised, kept account of in the plainest way; it shares no code with the registry.

The bounds within which nothing may go that nobody deleted:

- a lying list lies for less than ``confirm_seconds`` (30 s) less the time a list takes, and a true list can be had
  within ``hold_seconds`` (600 s) after it. It takes all of a service, or more than the guard's share (by default
  max(3, 30 %)) of it; less is believed, as what happens every day. Of Pods it takes all, or none, or too many as well:
  a few Pods that a list lacks are believed to be gone, and their endpoints with them;
- an outage may last for ever, as long as the cluster's data plane answers, or nobody knows; where both are down for
  ``evict`` (600 s) endpoints may go, but no service's last ones;
- a restart remembers what was learnt ``SNAPSHOT_SECONDS`` before; without a snapshot, what can be listed when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from support.cluster_api import SERVICE_LABEL, ClusterApi, Workloads
from support.plain_clients import Shown

from registry.model.names import Kind

EVICT_SECONDS = 600.0
HOLD_SECONDS = 600.0
FOREIGN = "10.99."
"""How the addresses of a cluster begin that is nobody's member."""


class Place(NamedTuple):
    """An endpoint of a service."""

    service: str
    address: str


class Seen(NamedTuple):
    """Under which member's name, and since when."""

    member: str
    since: float


@dataclass
class Site:
    """One cluster, and what is wrong with it. ``member`` is the name the operator gave it, None where it has none.

    ``trouble_since``: since when it was not certain to be followed. ``lied_since``: when a list began to lie after
    which no list was certainly believed. Addresses that were taken out and came again are ``reborn``: somebody may hear
    of the first only now.
    """

    api: ClusterApi
    work: Workloads
    member: str | None
    trouble_since: float | None = None
    silent_since: float | None = None
    lied_since: float | None = None
    reborn: set[Place] = field(default_factory=set)

    def truth(self) -> set[Place]:
        """The endpoints that are ready, as the API server has them."""
        services = {name for _, name in self.api.documents[Kind.SERVICE]}
        return {
            Place(each["metadata"]["labels"][SERVICE_LABEL], end["addresses"][0])
            for each in self.api.documents[Kind.ENDPOINT_SLICE].values()
            for end in each["endpoints"]
            if end["conditions"]["ready"] and each["metadata"]["labels"][SERVICE_LABEL] in services
        }

    def may_be_evicted(self, now: float) -> bool:
        if self.trouble_since is None or self.silent_since is None:
            return False
        return now - max(self.trouble_since, self.silent_since) >= EVICT_SECONDS

    def may_be_let_go(self, now: float) -> bool:
        return self.lied_since is not None and now - self.lied_since >= HOLD_SECONDS - 1


class Promises:
    """What one client saw and may not lose."""

    def __init__(self, client: str, sites: Iterable[Site]) -> None:
        self._client = client
        self._sites = tuple(sites)
        self._seen: dict[int, dict[Place, Seen]] = {site.work.site: {} for site in self._sites}
        self._forgotten: set[Place] = set()
        """What the registry may not know any more, and this client may still have."""

    def look(self, shown: Shown, now: float) -> None:
        """The client is shown this. Raises AssertionError where a promise is broken."""
        members = {Place(service, address): member for service, ends in shown.items() for member, address in ends}
        assert not any(place.address.startswith(FOREIGN) for place in members), "a cluster that was refused is shown"
        assert not any("twin" in member for member in members.values()), "a second name for a cluster is shown"
        for site in self._sites:
            seen = self._seen[site.work.site]
            if site.member is None or site.may_be_let_go(now):
                seen.clear()
            truth = site.truth()
            for place in seen.keys() - truth:
                del seen[place]
            self._nothing_is_missing(site, shown, members.keys(), now)
            for place in (truth & members.keys()) - site.reborn - self._forgotten:
                if place not in seen or seen[place].member != members[place]:
                    seen[place] = Seen(members[place], now)

    def settled(self) -> None:
        """Everything was right just now: what is there may not go, whatever happened before."""
        self._forgotten.clear()

    def restarted(self, now: float, remembers: float | None, lost: Iterable[Site]) -> None:
        """The registry begins anew and knows what was seen ``remembers`` seconds ago; None: nothing, so that what is of
        the sites ``lost`` may be gone."""
        for site in self._sites if remembers is not None else lost:
            seen = self._seen[site.work.site]
            for place, (_, since) in list(seen.items()):
                if remembers is None or since > now - remembers:
                    self._forgotten.add(place)
                    del seen[place]
        if remembers is None:  # what is left has to be learnt anew before a snapshot can have it
            for seen in self._seen.values():
                seen.update({place: each._replace(since=now) for place, each in seen.items()})

    def _nothing_is_missing(self, site: Site, shown: Shown, there: Iterable[Place], now: float) -> None:
        seen = self._seen[site.work.site]
        missing = seen.keys() - set(there)
        if not missing:
            return
        assert site.may_be_evicted(now), f"{self._client} misses {sorted(missing)} of {site.member} at {now:.1f} s"
        for place in missing:
            assert shown.get(place.service), f"{self._client} was left without any endpoint of {place.service}"
            del seen[place]
