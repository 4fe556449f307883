"""From a change set to the resources it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from registry.model.facts import Labels, ServicePort
from registry.model.gateways import Gateways
from registry.model.names import ServiceKey
from registry.model.services import Change, ChangeSet, MergedService
from registry.views.eds import NO_GATEWAYS, Assignment, ServiceAssignments
from registry.views.names import OUTBOUND_HTTP, Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import PolicyRule, ResolvedPolicy, resolve
from registry.views.rds import assemble_routes, encode_virtual_hosts, http_ports
from registry.views.rendered import Rendered
from registry.views.resources import (
    ASSIGNMENT,
    LISTENER,
    ROUTE,
    clusters,
    on_demand,
    outbound_listener,
    served_ports,
    sticky,
)
from registry.xds.resources import Resource, ResourceChange
from registry.xds.store import Finder, Forgetter

log = logging.getLogger(__name__)

LOOKED_AT, SHOWN = 200, 10
"""So many services are looked at, and so many shown anew, in one step when the configuration's policies change: a few
milliseconds."""


class Store(Protocol):
    """The part of a resource store that is written to."""

    def apply(self, changes: Iterable[ResourceChange]) -> None: ...

    def on_demand(self, type_url: str, find: Finder, forget: Forgetter | None = None) -> None: ...

    def viewed(self, type_url: str) -> bool: ...

    def viewers(self, type_url: str, name: str) -> Collection[Hashable]: ...


def _nobody_cares(_by_nodes: bool) -> None:
    """Of groups that are no places."""


class Publisher:
    """Keeps ``store`` the picture of the merged services, one batch per change set.

    A change of endpoints renders that service's assignments, for the places from which somebody subscribes to them, and
    nothing else. A change of ports also renders the service's part of ``outbound_http`` and joins the parts of all
    services, as they were encoded before. Nothing is encoded before somebody wants it; what clients ask for by name,
    assignments and the five names a service has for gRPC clients, is not even stored. Groups of assignments are places
    (``registry.views.place``); of the other types there is one.
    """

    def __init__(
        self,
        store: Store,
        names: Names,
        listener: tuple[str, int],
        rules: Sequence[PolicyRule] = (),
        go_by_nodes: Callable[[bool], None] = _nobody_cares,
    ) -> None:
        """``rules`` are the traffic policies of the configuration.

        ``go_by_nodes`` is told whether clients of different nodes are shown different things, each time that this
        changes, and before anything is rendered that differs.
        """
        self._store = store
        self._go_by_nodes = go_by_nodes
        self._by_node: set[ServiceKey] = set()
        """The services whose policy goes by nodes."""
        self._names = names
        self._rules = rules
        self._gateways = NO_GATEWAYS
        self._services: dict[ServiceKey, MergedService] = {}
        self._virtual_hosts: dict[ServiceKey, bytes] = {}
        """Services' parts of ``outbound_http``, as far as they were encoded."""
        self._pictures: dict[ServiceKey, _Picture] = {}
        """Of the services of which somebody subscribes to an assignment."""
        self._problems: dict[ServiceKey, tuple[str, ...]] = {}
        store.on_demand(ASSIGNMENT, self._find_assignment, self._forget_assignment)
        for type_url in (LISTENER, ROUTE):
            store.on_demand(type_url, self._find)
        store.apply([_put(outbound_listener(*listener)), self._route()])

    def publish(self, changes: ChangeSet) -> None:
        """Render what changed and make it visible at once."""
        batch: list[ResourceChange] = []
        routes_changed = False
        by_node = bool(self._by_node)
        for change in changes:
            self._keep(change)
        if by_node is not bool(self._by_node):
            self._go_by_nodes(not by_node)
        for change in changes:
            if change.old is None or change.new is None or not self._same_shape(change.old, change.new):
                batch += self._reshaped(change)
                routes_changed |= self._virtual_hosts_changed(change)
            if change.new is not None:
                batch += self._shown_anew(change.new)
        if routes_changed:
            batch.append(self._route())
        self._store.apply(batch)

    def set_gateways(self, gateways: Gateways) -> None:
        """The gateways between networks are these now: show what is looked at anew, where it is on one with others."""
        before, self._gateways = self._gateways, gateways
        changed = {each for each in before.keys() | gateways.keys() if before.get(each) != gateways.get(each)}
        if not changed:
            return
        viewed = (self._services[key] for key in tuple(self._pictures))
        there = [each for each in viewed if not changed.isdisjoint(end.network for end in each.endpoints)]
        self._store.apply([change for service in there for change in self._shown_anew(service)])

    def set_rules(self, rules: Sequence[PolicyRule]) -> Iterator[list[MergedService]]:
        """The traffic policies of the configuration are these now.

        Each step looks at some services, and shows those anew of which the policy is another; gives these.
        """
        before, self._rules = self._rules, rules
        keys = tuple(self._services)
        for start in range(0, len(keys), LOOKED_AT):
            found = map(self._services.get, keys[start : start + LOOKED_AT])
            other = [each.key for each in found if each is not None and resolve(each, before) != self.policy(each)]
            for first in range(0, len(other) or 1, SHOWN):
                found = map(self._services.get, other[first : first + SHOWN])
                there = [each for each in found if each is not None]  # between the steps it may have gone
                self._reorder(there)
                yield there

    def _reorder(self, services: Sequence[MergedService]) -> None:
        """Show these anew, whose policy is another."""
        by_node = bool(self._by_node)
        for service in services:
            self._judge_anew(service.key, self.policy(service))
        if by_node is not bool(self._by_node):
            self._go_by_nodes(not by_node)
        batch: list[ResourceChange] = []
        for service in services:
            batch += self._reshaped(Change(service.key, service, service))
            batch += self._shown_anew(service)
        self._store.apply(batch)

    def problems(self) -> Mapping[ServiceKey, tuple[str, ...]]:
        """What was not understood of services' traffic policies, where there is anything."""
        return self._problems

    @property
    def gateways(self) -> Gateways:
        """Those between networks, as clients are shown them."""
        return self._gateways

    def policy(self, service: MergedService) -> ResolvedPolicy:
        """How the service's endpoints are ordered, and what of that was not understood."""
        return resolve(service, self._rules)

    def assignments(self, service: MergedService) -> ServiceAssignments:
        """The service as clients are shown it."""
        return (self._pictures.get(service.key) or self._picture(service)).assignments

    def _keep(self, change: Change) -> None:
        self._judge(change)
        if change.new is not None:
            self._services[change.key] = change.new
        else:
            self._services.pop(change.key, None)
            self._pictures.pop(change.key, None)
            self._virtual_hosts.pop(change.key, None)

    def _judge(self, change: Change) -> None:
        """Note whether the service's policy goes by nodes, and what of it is not understood.

        The latter is once in the log for as long as it stays so.
        """
        old, new = change.old, change.new
        if old is not None and new is not None and _said(old) == _said(new):
            return
        self._judge_anew(change.key, ResolvedPolicy() if new is None else self.policy(new))

    def _judge_anew(self, key: ServiceKey, resolved: ResolvedPolicy) -> None:
        before, found = self._problems.pop(key, ()), resolved.problems
        (self._by_node.add if resolved.policy.by_node else self._by_node.discard)(key)
        if found:
            self._problems[key] = found
        if found and found != before:
            log.warning("service %s: %s", key, "; ".join(found))

    def _same_shape(self, old: MergedService, new: MergedService) -> bool:
        """Whether nothing but endpoints is different."""
        if old.ports != new.ports or sticky(old) is not sticky(new):
            return False
        return _said(old) == _said(new) or self.policy(old) == self.policy(new)

    def _reshaped(self, change: Change) -> Iterator[ResourceChange]:
        """Everything but the endpoints of a service that appeared, went, or has another shape than before."""
        gone = {(each.type_url, each.name) for each in self._clusters(change.old)}
        for each in self._clusters(change.new):
            gone.discard((each.type_url, each.name))
            yield _put(each)
        asked = self._asked(change.old)
        gone |= asked.keys()
        for named, each in self._asked(change.new).items():
            gone.discard(named)
            yield _put(each)
        for type_url, name in sorted(gone):
            yield ResourceChange(type_url, name, None)
        for name in sorted(self._assigned(change.old) - self._assigned(change.new)):
            for place in self._store.viewers(ASSIGNMENT, name):
                yield ResourceChange(ASSIGNMENT, name, None, place)

    def _clusters(self, service: MergedService | None) -> Iterator[Rendered]:
        return iter(()) if service is None else clusters(service, self._names, self.policy(service).policy)

    def _assigned(self, service: MergedService | None) -> set[str]:
        """The names of the service's assignments."""
        return set() if service is None else {self._names.cluster(service.key, port) for port in served_ports(service)}

    def _asked(self, service: MergedService | None) -> Mapping[tuple[str, str], Rendered]:
        """What of that which gRPC clients ask for somebody subscribes to."""
        if service is None or not any(map(self._store.viewed, (LISTENER, ROUTE))):
            return {}
        found = on_demand(service, self._names)
        return {(each.type_url, each.name): each for each in found if self._store.viewers(each.type_url, each.name)}

    def _find(self, type_url: str, _group: Hashable, name: str) -> Resource | None:
        key = self._names.parse(name)
        service = self._services.get(key) if key is not None else None
        if service is not None:
            for each in on_demand(service, self._names):
                if (each.type_url, each.name) == (type_url, name):
                    return Resource(each.encode, each.on_demand)
        return None

    def _find_assignment(self, _type_url: str, group: Hashable, name: str) -> Resource | None:
        named = self._names.parse_cluster(name)
        service = self._services.get(named[0]) if named is not None else None
        if named is None or service is None or named[1] not in served_ports(service):
            return None
        picture = self._pictures.get(service.key) or self._picture(service)
        if self._store.viewers(ASSIGNMENT, name):
            self._pictures[service.key] = picture
        return picture.resource(named[1], _place(group))

    def _forget_assignment(self, group: Hashable, name: str) -> None:
        """Nobody at that place subscribes to it any more."""
        named = self._names.parse_cluster(name)
        picture = self._pictures.get(named[0]) if named is not None else None
        if named is None or picture is None:
            return
        picture.forget(named[1], _place(group))
        if not self._viewed(self._services[named[0]]):
            del self._pictures[named[0]]

    def _viewed(self, service: MergedService) -> list[tuple[int, str, Collection[Hashable]]]:
        """The ports whose assignments somebody subscribes to, the names of these, and the places it is done from."""
        names = ((port, self._names.cluster(service.key, port)) for port in served_ports(service))
        viewed = ((port, name, self._store.viewers(ASSIGNMENT, name)) for port, name in names)
        return [each for each in viewed if each[2]]

    def _shown_anew(self, service: MergedService) -> Iterator[ResourceChange]:
        """What those who look at the service see of it now."""
        viewed = self._viewed(service)
        picture = self._pictures.get(service.key)
        if picture is not None:
            picture.update(service, self.policy(service), self._gateways)
        elif viewed:
            picture = self._pictures[service.key] = self._picture(service)
        else:
            return
        for port, name, places in viewed:
            for place in places:
                yield ResourceChange(ASSIGNMENT, name, picture.resource(port, _place(place)), place)

    def _picture(self, service: MergedService) -> _Picture:
        picture = _Picture(ServiceAssignments(service.key, self._names))
        picture.update(service, self.policy(service), self._gateways)
        return picture

    def _virtual_hosts_changed(self, change: Change) -> bool:
        """Whether the service's part of ``outbound_http`` is another than before; then that is forgotten."""
        if _routed(change.old) == _routed(change.new):
            return False
        self._virtual_hosts.pop(change.key, None)
        return True

    def _route(self) -> ResourceChange:
        return ResourceChange(ROUTE, OUTBOUND_HTTP, Resource(self._encode_route))

    def _encode_route(self) -> bytes:
        return assemble_routes(self._encoded_virtual_hosts(key) for key in sorted(self._services))

    def _encoded_virtual_hosts(self, key: ServiceKey) -> bytes:
        found = self._virtual_hosts.get(key)
        if found is None:
            service = self._services[key]
            found = encode_virtual_hosts(key, service.ports, self._names, sticky=sticky(service))
            self._virtual_hosts[key] = found
        return found


class _Picture:
    """One service as it is shown. Places that are shown the same get the same resource."""

    def __init__(self, assignments: ServiceAssignments) -> None:
        self.assignments = assignments
        self._resources: dict[Assignment, Resource] = {}

    def update(self, service: MergedService, resolved: ResolvedPolicy, gateways: Gateways) -> None:
        self.assignments.update(service, resolved.policy, gateways)
        self._resources.clear()

    def forget(self, port: int, place: Place) -> None:
        """Nobody at that place looks at the port any more."""
        for shown in self.assignments.forget(port, place):
            self._resources.pop(shown, None)

    def resource(self, port: int, place: Place) -> Resource:
        shown = self.assignments.show(port, place)
        found = self._resources.get(shown)
        if found is None:
            found = self._resources[shown] = Resource(shown.encode, on_demand=True, version=shown.version)
        return found


def _routed(service: MergedService | None) -> tuple[list[ServicePort], bool]:
    """All that a service's part of ``outbound_http`` depends on."""
    ports = http_ports(service.ports) if service is not None else []
    return ports, bool(ports) and service is not None and sticky(service)


def _said(service: MergedService) -> tuple[str, bool, Labels]:
    """What the service itself says of its traffic."""
    return service.traffic_distribution, service.local_only, service.annotations


def _place(group: Hashable) -> Place:
    return group if isinstance(group, Place) else NOWHERE


def _put(rendered: Rendered) -> ResourceChange:
    return ResourceChange(rendered.type_url, rendered.name, Resource(rendered.encode, rendered.on_demand))
