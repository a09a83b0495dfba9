"""What others own of a Deployment's pods, read as a cluster writes it."""

from typing import Any

from perennial.hosting.applying import added

OURS = {"f:containers": {'k:{"name":"serving"}': {".": {}, "f:image": {}, "f:name": {}}}}
THEIRS = {
    "f:containers": {
        'k:{"name":"serving"}': {
            ".": {},
            "f:image": {},
            "f:ports": {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:hostPort": {}}},
        },
        'k:{"name":"sidecar"}': {".": {}, "f:name": {}},
    },
    "f:hostNetwork": {},
}


def owned(manager: str, operation: str, pods: Any) -> dict[str, Any]:
    template = {"f:metadata": {"f:annotations": {"f:restartedAt": {}}}, "f:spec": pods}
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:template": template}}}


def test_what_is_beyond_ours_is_named_once_and_by_whom() -> None:
    scaler = {"manager": "scaler", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    entries = [owned("perennial", "Apply", OURS), owned("kubectl-edit", "Update", THEIRS), scaler]
    found = added({"metadata": {"managedFields": entries}})
    added_by_hand = ("`containers[serving].ports`", "`containers[sidecar]`", "`hostNetwork`")
    assert found == [("kubectl-edit", what) for what in added_by_hand]


def test_what_is_left_of_our_own_repair_is_ours() -> None:
    entries = [owned("perennial", "Apply", OURS), owned("perennial", "Update", THEIRS)]
    assert added({"metadata": {"managedFields": entries}}) == []


def test_a_field_that_others_own_as_well_is_not_added() -> None:
    entries = [owned("perennial", "Apply", OURS), owned("helm", "Update", OURS)]
    assert added({"metadata": {"managedFields": entries}}) == []
