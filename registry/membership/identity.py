"""Which cluster each member is. Pure.

A cluster is known by the UID of its namespace ``kube-system``, which lasts as long as the cluster does (the convention
of KEP-2149's ``cluster.clusterset.k8s.io``). Two members are never the same cluster, or its endpoints would count
twice and stay when one of the two is gone; and a member never becomes another cluster, or a wrong kubeconfig would
replace the endpoints of one cluster by those of another.
"""

from __future__ import annotations


class IdentityBook:
    """Member name -> UID. A member keeps its UID until it is forgotten."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._holders: dict[str, str] = {}
        self._leaving: set[str] = set()
        self._expected: set[str] = set()
        self._waiting: dict[str, str] = {}
        """Member -> the UID it was refused because another holds it."""

    def admit(self, name: str, uid: str) -> str | None:
        """Member ``name`` leads to cluster ``uid``: None when it may, else why it may not.

        The identity of a member that is leaving goes over to whoever asks for it.
        """
        known = self._uids.get(name)
        if known is not None and known != uid:
            return (
                f"this leads to another cluster (kube-system has UID {uid}) than the member did before ({known}); "
                "correct the credentials, or, if the cluster was made anew, remove the member and add it again"
            )
        holder = self._holders.get(uid)
        if holder is not None and holder != name and holder not in self._leaving:
            self._waiting[name] = uid
            return f"this is the cluster that is the member {holder} already (UID {uid}); remove one of the two names"
        self._waiting.pop(name, None)
        self._uids[name] = uid
        self._holders[uid] = name
        return None

    def expect(self, name: str, uid: str) -> bool:
        """An earlier run knew ``name`` as the cluster ``uid``: nothing else will do. False: another member is that."""
        if self.admit(name, uid) is not None:
            return False
        self._expected.add(name)
        return True

    def start_over(self, name: str) -> None:
        """The member listed nothing yet, and is reached in another way now: what it was found to be counts no more."""
        if name not in self._expected:
            self.forget(name)

    def uid(self, name: str) -> str | None:
        """Which cluster the member is, None when that is not known."""
        return self._uids.get(name)

    def heir(self, name: str) -> str | None:
        """Who has taken the member's identity over, None where nobody did."""
        holder = self._holders.get(self._uids.get(name, ""))
        return holder if holder != name else None

    def succeeded(self, name: str) -> list[str]:
        """The members whose identity ``name`` has taken over, and that are not gone."""
        uid = self._uids.get(name)
        if uid is None or self._holders.get(uid) != name:
            return []
        return [other for other, known in self._uids.items() if known == uid and other != name]

    def waiting(self, name: str) -> frozenset[str]:
        """The members that were refused because ``name`` is that cluster."""
        uid = self._uids.get(name)
        return frozenset(other for other, wanted in self._waiting.items() if wanted == uid and other != name)

    def duplicate(self, name: str) -> bool:
        """The member was refused because another is that cluster."""
        return name in self._waiting

    def leave(self, name: str) -> None:
        """The member goes as soon as nobody needs it: another may take its identity over."""
        self._leaving.add(name)

    def stay(self, name: str) -> None:
        """The member does not go after all."""
        self._leaving.discard(name)

    def forget(self, name: str) -> None:
        """The member is gone: what it was is free."""
        self._leaving.discard(name)
        self._expected.discard(name)
        self._waiting.pop(name, None)
        uid = self._uids.pop(name, None)
        if uid is not None and self._holders.get(uid) == name:
            del self._holders[uid]
