"""The manifests: Kubernetes' own schemas, KubeRay's fields, Ray's own reading of the cluster.

KubeRay's resource definitions are megabytes that no package ships, nearly all of them pods. So
pods are checked against Kubernetes' schema, and what KubeRay adds against the fields written
down here from KubeRay 1.7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import validate_config

FOLDER = Path(__file__).parents[2] / "cluster" / "kubernetes"
KUBERNETES = "1.36"


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


PLAIN = [
    item for name in ("namespace", "storage", "tracking") for item in manifests(f"{name}.yaml")
]
(CLUSTER,) = manifests("raycluster.yaml")
(JOB,) = manifests("rayjob.yaml")
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]


def strict(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
POD = {"type": "object"}  # checked against Kubernetes' schema
METADATA = strict(
    [], name={"type": "string"}, generateName={"type": "string"}, namespace={"type": "string"}
)


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    names = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}}
    return strict(["apiVersion", "kind", "metadata", "spec"], **names, metadata=METADATA, spec=spec)


RAY_CLUSTER = strict(
    ["headGroupSpec"],
    rayVersion={"type": "string"},
    authOptions=strict(["mode"], mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=strict([], idleTimeoutSeconds=COUNT, resources={"type": "object"}),
    headGroupSpec=strict(["template"], rayStartParams=TEXTS, template=POD),
    workerGroupSpecs={
        "type": "array",
        "items": strict(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName={"type": "string"},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        ),
    },
)
RAY_JOB = strict(
    ["entrypoint", "clusterSelector"], entrypoint={"type": "string"}, clusterSelector=TEXTS
)


@pytest.mark.parametrize("manifest", PLAIN, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_kubernetes_accepts_it(manifest: Any) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_kuberay_accepts_the_cluster_and_the_job() -> None:
    jsonschema.validate(CLUSTER, resource("RayCluster", RAY_CLUSTER))
    jsonschema.validate(JOB, resource("RayJob", RAY_JOB))
    for group in GROUPS:
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "ray"}}
        pod = {**pod, "template": group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    broken = {**CLUSTER, "spec": {**CLUSTER["spec"], "authOption": {"mode": "token"}}}
    with pytest.raises(jsonschema.ValidationError, match="authOption"):
        jsonschema.validate(broken, resource("RayCluster", RAY_CLUSTER))


def test_ray_reads_the_cluster_as_it_is_meant() -> None:
    placed = {**CLUSTER, "metadata": {**CLUSTER["metadata"], "namespace": "prune-search"}}
    config = _derive_autoscaling_config_from_ray_cr(placed)
    validate_config(config)
    assert CLUSTER["spec"]["rayVersion"] == ray.__version__
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["trials"]["resources"]["CPU"] == 4
    assert (types["trials"]["min_workers"], types["trials"]["max_workers"]) == (1, 8)


def test_the_job_runs_on_that_cluster_and_reports_to_that_server() -> None:
    assert JOB["spec"]["clusterSelector"] == {"ray.io/cluster": CLUSTER["metadata"]["name"]}
    services = {item["metadata"]["name"] for item in PLAIN if item["kind"] == "Service"}
    assert "mlflow" in services and "tracking.uri=http://mlflow:5000" in JOB["spec"]["entrypoint"]
    (claim,) = (item for item in PLAIN if item["kind"] == "PersistentVolumeClaim")
    for group in GROUPS:
        spec = group["template"]["spec"]
        (volume,) = spec["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = spec["containers"][0]["volumeMounts"]
        assert f"--storage {mount['mountPath']}" in JOB["spec"]["entrypoint"]


def test_passwords_come_from_secrets_and_nothing_is_published() -> None:
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    pods = [
        item["spec"]["template"]["spec"]
        for item in PLAIN
        if item["kind"] in ("Deployment", "StatefulSet")
    ] + [group["template"]["spec"] for group in GROUPS]
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for variable in container.get("env", []):
                if any(word in variable["name"] for word in ("PASSWORD", "SECRET", "TOKEN")):
                    assert set(variable["valueFrom"]) == {"secretKeyRef"}, variable["name"]
    # Without a type a service is reached from within the Kubernetes cluster alone.
    assert all("type" not in item["spec"] for item in PLAIN if item["kind"] == "Service")


def test_kustomization_lists_every_manifest_but_the_job() -> None:
    (kustomization,) = manifests("kustomization.yaml")
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "rayjob.yaml"}
    assert set(kustomization["resources"]) == files
