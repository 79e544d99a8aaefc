"""A publisher of a TUF repository, as the signer is one, over anything that can put an object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from inspection import AgentOrder, DesiredState, ShadowOrder, Wave
from inspection.agent_release import agent_path
from inspection.paths import desired_path, former_desired_path
from tests.edge_agent.agent_wheels import BuiltAgent
from tests.edge_agent.models import BuiltCandidate, BuiltRelease

Put = Callable[[str, bytes], None]


class Publisher:
    """Keys, metadata in memory, and the layout that the device expects: metadata/ and targets/ with hash prefixes."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ("root", "targets", "snapshot", "timestamp")}
        self.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        self.root = Metadata(Root(expires=self.expires, consistent_snapshot=True))
        self.agent_signer = CryptoSigner.generate_ed25519()
        self.agent: Metadata[Targets] | None = None
        for role, signer in self.signers.items():
            self.root.signed.add_key(signer.public_key, role)
        self.root.sign(self.signers["root"])
        self.targets = Metadata(Targets(expires=self.expires))
        self.snapshot = Metadata(Snapshot(expires=self.expires))
        self.timestamp = Metadata(Timestamp(expires=self.expires))
        self.targets.signed.version = self.snapshot.signed.version = self.timestamp.signed.version = 0
        self.root_bytes = self.root.to_bytes()
        self._put("metadata/1.root.json", self.root_bytes)
        self.sequence = 0
        self.commit()

    def add(self, path: str, data: bytes) -> str:
        """Add a target; returns the key it lies under."""
        self._signing(path).targets[path] = TargetFile.from_data(path, data, ["sha256"])
        folder, _, name = path.rpartition("/")
        key = f"targets/{folder}/{hashlib.sha256(data).hexdigest()}.{name}"
        self._put(key, data)
        return key

    def _signing(self, path: str) -> Targets:
        """The role that signs a target: the one of the agent's software has a key of its own."""
        if not path.startswith("agent/"):
            return self.targets.signed
        if self.agent is None:
            self.agent = Metadata(Targets(expires=self.expires))
            self.agent.signed.version = 0
            key = self.agent_signer.public_key
            role = DelegatedRole("agent", [key.keyid], 1, True, paths=["agent/*/*"])
            self.targets.signed.delegations = Delegations({key.keyid: key}, {"agent": role})
        return self.agent.signed

    def add_agent(self, built: BuiltAgent) -> None:
        """Add the document and the wheels of a release of the agent."""
        for wheel in built.wheels.values():
            self.add(agent_path(wheel.sha256, wheel.file), wheel.data)
        self.add(agent_path(built.digest, "agent.json"), built.release.to_json())

    def add_release(self, built: BuiltRelease) -> dict[str, str]:
        """Add the files of a release; returns the key of each."""
        return {name: self.add(f"releases/{built.digest}/{name}", data) for name, data in built.files.items()}

    def add_candidate(self, built: BuiltCandidate) -> None:
        """Add the files of a candidate."""
        for name, data in built.files.items():
            self.add(f"shadow/{built.digest}/{name}", data)

    def desire(
        self,
        digest: str,
        *,
        group: str = "line1",
        sequence: int | None = None,
        probation_s: float = 0.5,
        former_path: bool = False,
        shadow: ShadowOrder | None = None,
        agent: AgentOrder | None = None,
    ) -> int:
        """Say what a group should run, and publish. former_path: as Kizu 0.1 did."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        desired = DesiredState(
            sequence=self.sequence,
            use_case="tags",
            waves=(Wave(release_digest=digest, percent=100.0),),
            probation_s=probation_s,
            shadow=shadow,
            agent=agent,
        )
        path = former_desired_path(group) if former_path else desired_path("tags", group)
        self.add(path, desired.to_json())
        self.commit()
        return self.sequence

    def commit(self) -> None:
        """Sign and put new targets, snapshot and timestamp."""
        for role in (self.targets, self.snapshot, self.timestamp):
            role.signed.version += 1
        if self.agent is not None:
            self.agent.signed.version += 1
            self.agent.sign(self.agent_signer)
            self._put(f"metadata/{self.agent.signed.version}.agent.json", self.agent.to_bytes())
            self.snapshot.signed.meta["agent.json"] = MetaFile(version=self.agent.signed.version)
        self.targets.sign(self.signers["targets"])
        self._put(f"metadata/{self.targets.signed.version}.targets.json", self.targets.to_bytes())
        self.snapshot.signed.meta["targets.json"] = MetaFile(version=self.targets.signed.version)
        self.snapshot.sign(self.signers["snapshot"])
        self._put(f"metadata/{self.snapshot.signed.version}.snapshot.json", self.snapshot.to_bytes())
        self.timestamp.signed.snapshot_meta = MetaFile(version=self.snapshot.signed.version)
        self.put_timestamp()

    def put_timestamp(self) -> None:
        """Sign and put the timestamp as it is."""
        self.timestamp.sign(self.signers["timestamp"])
        self._put("metadata/timestamp.json", self.timestamp.to_bytes())
