"""A gcloud that remembers, and refuses what Google Cloud refuses: run as a program.

State is in the file FAKE_GCLOUD_STATE. An API that is not enabled, and an account that is not
there, are refused as Google does. What was made a moment ago is not visible to the next
FAKE_GCLOUD_BLIND calls that name it. With FAKE_GCLOUD_KILL=N the program that called is killed
at the Nth change, before the change is made.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: First words of a command -> the API that must be enabled for it.
_APIS = {
    "storage": "storage.googleapis.com",
    "iam": "iam.googleapis.com",
}
_EMPTY: dict[str, Any] = {
    "services": [],
    "agents": [],
    "buckets": {},
    "accounts": [],
    "policies": {},
    "pools": [],
    "providers": [],
    "blind": {},
    "changes": 0,
    "log": [],
}


class Refused(Exception):
    """What gcloud says on standard error."""


class Cloud:
    """The project as it stands."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def run(self, words: Sequence[str], options: dict[str, str]) -> Any:
        """Answer one command, or refuse it."""
        api = _APIS.get(words[0])
        if api and api not in self.state["services"]:
            raise Refused(f"SERVICE_DISABLED: {api} has not been used in project p before")
        verb = next(word for word in words if word in _VERBS)
        if verb in _CHANGES:
            self._change(words)
        return getattr(self, f"_{'_'.join(words[: words.index(verb) + 1])}".replace("-", "_"))(
            words[words.index(verb) + 1 :], options
        )

    def _change(self, words: Sequence[str]) -> None:
        self.state["changes"] += 1
        self.state["log"].append(" ".join(words))
        if self.state["changes"] == int(os.environ.get("FAKE_GCLOUD_KILL", "0")):
            save(self.state)
            os.kill(os.getppid(), signal.SIGKILL)
            sys.exit(1)

    def _made(self, name: str) -> None:
        self.state["blind"][name] = int(os.environ.get("FAKE_GCLOUD_BLIND", "0"))

    def _must_see(self, name: str) -> None:
        left = self.state["blind"].get(name, 0)
        if left:
            self.state["blind"][name] = left - 1
            raise Refused(f"Service account {name} does not exist.")

    def _projects_describe(self, _: Any, options: dict[str, str]) -> Any:
        del options
        return {"projectNumber": "123456789012"}

    def _services_list(self, _: Any, options: dict[str, str]) -> Any:
        del options
        return [{"config": {"name": name}} for name in self.state["services"]]

    def _services_enable(self, names: Sequence[str], _: Any) -> None:
        self.state["services"] = sorted({*self.state["services"], *names})

    def _beta_services_identity_create(self, _: Any, options: dict[str, str]) -> None:
        if options["--service"] not in self.state["services"]:
            raise Refused("SERVICE_DISABLED: it has not been used in project p before")
        self.state["agents"] = sorted({*self.state["agents"], options["--service"]})

    def _storage_buckets_list(self, _: Any, options: dict[str, str]) -> Any:
        name = options["--filter"].removeprefix("name=")
        bucket = self.state["buckets"].get(name)
        return [] if bucket is None else [{"name": name, **bucket}]

    def _storage_buckets_create(self, urls: Sequence[str], options: dict[str, str]) -> None:
        name = urls[0].removeprefix("gs://")
        if name in self.state["buckets"]:
            raise Refused(f"HTTPError 409: {name} is taken")
        self.state["buckets"][name] = {"location": options["--location"]}

    def _storage_buckets_update(self, urls: Sequence[str], _: Any) -> None:
        self.state["buckets"][urls[0].removeprefix("gs://")]["versioning_enabled"] = True

    def _iam_service_accounts_list(self, _: Any, options: dict[str, str]) -> Any:
        email = options["--filter"].removeprefix("email=")
        return [{"email": email}] if email in self.state["accounts"] else []

    def _iam_service_accounts_create(self, ids: Sequence[str], options: dict[str, str]) -> None:
        email = f"{ids[0]}@{options['--project']}.iam.gserviceaccount.com"
        if email in self.state["accounts"]:
            raise Refused("ALREADY_EXISTS")
        self.state["accounts"].append(email)
        self._made(email)

    def _get(self, resource: str) -> Any:
        return {"bindings": self.state["policies"].get(resource, [])}

    def _bind(self, resource: str, options: dict[str, str]) -> None:
        member = options["--member"]
        email = member.removeprefix("serviceAccount:")
        if member.startswith("serviceAccount:"):
            if email not in self.state["accounts"]:
                raise Refused(f"Service account {email} does not exist.")
            self._must_see(email)
        bindings = self.state["policies"].setdefault(resource, [])
        same = [one for one in bindings if one["role"] == options["--role"]]
        if same and member not in same[0]["members"]:
            same[0]["members"].append(member)
        elif not same:
            bindings.append({"role": options["--role"], "members": [member]})

    def _projects_get_iam_policy(self, names: Sequence[str], _: Any) -> Any:
        return self._get(names[0])

    def _projects_add_iam_policy_binding(
        self, names: Sequence[str], options: dict[str, str]
    ) -> None:
        self._bind(names[0], options)

    _storage_buckets_get_iam_policy = _projects_get_iam_policy
    _storage_buckets_add_iam_policy_binding = _projects_add_iam_policy_binding
    _iam_service_accounts_get_iam_policy = _projects_get_iam_policy
    _iam_service_accounts_add_iam_policy_binding = _projects_add_iam_policy_binding

    def _iam_workload_identity_pools_list(self, _: Any, options: dict[str, str]) -> Any:
        del options
        return self.state["pools"]

    def _iam_workload_identity_pools_create(self, ids: Sequence[str], _: Any) -> None:
        self.state["pools"].append({"name": _pool(ids[0]), "state": "ACTIVE"})

    def _iam_workload_identity_pools_undelete(self, ids: Sequence[str], _: Any) -> None:
        for pool in self.state["pools"]:
            if pool["name"] == _pool(ids[0]):
                pool["state"] = "ACTIVE"

    def _iam_workload_identity_pools_providers_list(
        self, _: Any, options: dict[str, str]
    ) -> Any:
        pools = [pool["name"] for pool in self.state["pools"]]
        if _pool(options["--workload-identity-pool"]) not in pools:
            raise Refused("NOT_FOUND: no such pool")
        return self.state["providers"]

    def _iam_workload_identity_pools_providers_create_oidc(
        self, ids: Sequence[str], options: dict[str, str]
    ) -> None:
        name = f"{_pool(options['--workload-identity-pool'])}/providers/{ids[0]}"
        condition = options["--attribute-condition"]
        self.state["providers"].append({"name": name, "attributeCondition": condition})


_CHANGES = {"enable", "create", "update", "add-iam-policy-binding", "create-oidc", "undelete"}
_VERBS = {*_CHANGES, "describe", "list", "get-iam-policy"}


def _pool(pool_id: str) -> str:
    return f"projects/123456789012/locations/global/workloadIdentityPools/{pool_id}"


def save(state: dict[str, Any]) -> None:
    """Write what is remembered."""
    Path(os.environ["FAKE_GCLOUD_STATE"]).write_text(json.dumps(state))


def _parsed(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    words, options, rest = [], {}, list(arguments)
    flags = {"--quiet", "--enabled", "--versioning", "--show-deleted"}
    flags |= {"--uniform-bucket-level-access", "--public-access-prevention"}
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            words.append(word)
        elif equals or word in flags:
            options[name] = value
        else:
            options[word] = rest.pop(0)
    return words, options


def main() -> None:
    """One call of gcloud."""
    path = Path(os.environ["FAKE_GCLOUD_STATE"])
    state = json.loads(path.read_text()) if path.exists() else json.loads(json.dumps(_EMPTY))
    words, options = _parsed(sys.argv[1:])
    try:
        answer = Cloud(state).run(words, options)
    except Refused as refusal:
        save(state)
        sys.exit(f"ERROR: (gcloud) {refusal}")
    save(state)
    if options["--format"] == "json":
        sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
