"""The examples in hostfiles/: hostfiles and job scripts run on this machine; the Kubernetes manifest is checked."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jobs import ROOT, Environment, Run, run

from nnmpi.cli import cli
from nnmpi.launching.hostfile import read_hostfile

EXAMPLES = ROOT / "hostfiles"
ROOT_VARIABLES = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_MCA_rmaps_default_mapping_policy")


@pytest.mark.mpi
@pytest.mark.slow
def test_a_hostfile_of_two_ranks_trains_on_two(mpi: Environment, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--epochs", "1", "--output", "run")
    launch = ("launch", "-n", "2", "--hostfile", str(EXAMPLES / mpi.mpi))
    plain = ("env", *(f"--unset={name}" for name in ROOT_VARIABLES), mpi.program("nnmpi"))
    done = run([*plain, *launch, "--", *train], tmp_path).succeeded()
    assert Run(done, tmp_path / "run").config["world_size"] == 2
    words = shlex.split(run([*plain, *launch, "--dry-run", "--", *train], tmp_path).succeeded().out)
    option = {"openmpi": "--hostfile", "mpich": "-f"}[mpi.mpi]
    assert words[words.index(option) + 1] == str(EXAMPLES / mpi.mpi)


# variables that a batch system sets: the file of nodes, the id of the job, its directory
JOBS = {
    "pbs": ("PBS_NODEFILE", "PBS_JOBID", "PBS_O_WORKDIR"),
    "lsf": ("LSB_DJOB_HOSTFILE", "LSB_JOBID", "LS_SUBCWD"),
}


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("batch", JOBS)
@pytest.mark.in_turn
def test_a_job_script_trains_on_the_hosts_it_got(batch: str, mpi: Environment, tmp_path: Path) -> None:
    nodes, job, directory = JOBS[batch]
    (tmp_path / "nodes").write_text("localhost\nlocalhost\n")
    (tmp_path / ".venv").symlink_to(mpi.directory)
    variables = {nodes: str(tmp_path / "nodes"), job: "7.server", directory: str(tmp_path)}
    done = run(["bash", str(EXAMPLES / f"{batch}.sh")], Path("/"), timeout=120, **variables).succeeded()
    assert Run(done, tmp_path / "runs" / batch).config["world_size"] == 2
    assert done.out.splitlines()[-1].startswith("test accuracy 0.9")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "nodes", "runs"]


@pytest.mark.parametrize("batch", JOBS)
def test_a_job_script_asks_for_the_time_it_uses(batch: str) -> None:
    text = (EXAMPLES / f"{batch}.sh").read_text()
    assert "seconds=7200 " in text
    assert "walltime=02:00:00\n" in text or "-W 2:00\n" in text


KUBERNETES = EXAMPLES / "kubernetes.yaml"
# the fields of the API kubeflow.org/v2beta1 that a user sets (kubeflow/mpi-operator,
# pkg/apis/kubeflow/v2beta1/types.go)
SPEC = {"slotsPerWorker", "runPolicy", "mpiReplicaSpecs", "sshAuthMountPath", "mpiImplementation"}
RUN_POLICY = {
    "cleanPodPolicy",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "backoffLimit",
    "schedulingPolicy",
    "suspend",
}
REPLICAS = {"replicas", "template", "restartPolicy"}


@pytest.fixture(scope="module")
def manifest() -> Any:
    return yaml.safe_load(KUBERNETES.read_text())


def test_the_manifest_has_the_fields_of_the_api(manifest: Any) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    spec = manifest["spec"]
    assert set(spec) <= SPEC
    assert set(spec["runPolicy"]) <= RUN_POLICY
    assert spec["runPolicy"]["cleanPodPolicy"] in ("None", "Running", "All")
    assert spec["mpiImplementation"] in ("OpenMPI", "Intel", "MPICH")
    assert set(spec["mpiReplicaSpecs"]) == {"Launcher", "Worker"}
    for replicas in spec["mpiReplicaSpecs"].values():
        assert set(replicas) <= REPLICAS
        assert replicas.get("restartPolicy", "Never") in ("Never", "OnFailure")
        pod = replicas["template"]["spec"]
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_its_launcher_starts_a_rank_in_every_slot(manifest: Any, tmp_path: Path) -> None:
    spec = manifest["spec"]
    workers = spec["mpiReplicaSpecs"]["Worker"]["replicas"]
    (container,) = spec["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"]
    program, *words = container["command"]
    assert program == "nnmpi"
    # the hostfile as the operator writes it
    lines = [f"nnmpi-worker-{i}.nnmpi.default.svc slots={spec['slotsPerWorker']}\n" for i in range(workers)]
    (tmp_path / "hostfile").write_text("".join(lines))
    words[words.index("--hostfile") + 1] = str(tmp_path / "hostfile")
    hosts = read_hostfile(tmp_path / "hostfile", "Open MPI")
    assert words[words.index("-n") + 1] == str(sum(host.slots or 0 for host in hosts))
    words.insert(words.index("--"), "--dry-run")
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"-n {sum(host.slots or 0 for host in hosts)} --hostfile" in done.stdout
