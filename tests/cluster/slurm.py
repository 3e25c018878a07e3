"""A real Slurm of one node for the tests, started as root, without systemd or cgroups."""

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

# the only path where srun looks for it in a job
CONFIGURATION = Path("/etc/slurm/slurm.conf")
GPUS = CONFIGURATION.with_name("gres.conf")
# Slurm polls jobs to enforce memory limits. It only counts the GPUs, which need not exist. There
# are enough CPUs and GPUs for all jobs that may run at the same time.
CONFIGURATION_TEXT = """
ClusterName=headimpact
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MinJobAge=43200
KillWait=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000000 Gres=gpu:4
PartitionName=tests Nodes={host} Default=YES State=UP
"""


def unavailable_reason():
    """Why Slurm cannot be started on this machine, or None if it can."""
    if os.geteuid():
        return "starting Slurm needs root"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "not installed: snakemake-executor-plugin-slurm"
    if programs := [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]:
        return f"not installed: {', '.join(programs)}"
    if CONFIGURATION.exists() or GPUS.exists():
        return f"{CONFIGURATION.parent} is configured: this machine has a Slurm of its own"
    return None


@contextmanager
def running(folder):
    """Run Slurm with its state in `folder` (Path); stop it and remove its configuration after."""
    folder.chmod(0o711)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "munge.key-file").write_bytes(os.urandom(1024))
    (folder / "munge.key-file").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    munged = ["munged", "--foreground", "--force"]
    for name in ("key-file", "socket", "pid-file", "log-file", "seed-file"):
        munged.append(f"--{name}={folder / f'munge.{name}'}")
    daemons = []
    try:
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(CONFIGURATION_TEXT.format(host=host, folder=folder))
        GPUS.write_text(
            "".join(f"Name=gpu File=/dev/{name}\n" for name in ("null", "zero", "full", "random"))
        )
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.out").open("w") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
            wait_until((folder / "munge.socket").exists, folder)
        wait_until(idle, folder)
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], timeout=20)
        CONFIGURATION.unlink(missing_ok=True)
        GPUS.unlink(missing_ok=True)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=60)


def idle():
    state = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    return state.stdout.strip() == "idle"


def wait_until(condition, folder):
    for _ in range(150):
        if condition():
            return
        time.sleep(0.2)
    logs = [path.read_text() for path in folder.glob("*.out")]
    raise RuntimeError("\n".join(["Slurm did not start", *logs]))


def records():
    """Slurm's record of every job since it started: a list of dicts, by job id."""
    output = subprocess.run(
        ["scontrol", "show", "job", "-o"], capture_output=True, text=True, check=True
    )
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in output.stdout.splitlines()]
    return [job for job in jobs if "JobId" in job]  # without jobs, scontrol prints a sentence
