"""The small Hadoop: real daemons, ready when it reports so, and nothing left when it stops."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from waiting import until

from howdah.errors import InputError
from howdah.yarn_app.cli.mini import command
from howdah.yarn_app.mini import AlreadyRunning, DaemonFailed, MiniHadoop
from howdah.yarn_app.mini.processes import containers_of, daemons_of, tag

GIB = 1 << 30


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def run(*words: str, **more: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- on the session's Hadoop


@pytest.mark.hadoop
class TestRunning:
    def test_every_daemon_is_its_own_process_and_together_they_are_small(self, hadoop: MiniHadoop) -> None:
        daemons = hadoop.daemons
        assert list(daemons) == [
            "namenode", "datanode-1", "datanode-2", "resourcemanager", "nodemanager-1", "nodemanager-2",
        ]  # fmt: skip
        live = [process for process in daemons.values() if process]
        assert len({process.pid for process in live}) == 6
        assert sum(process.memory_info().rss for process in live) < 1.5 * GIB

    def test_hdfs_and_yarn_know_two_nodes_by_the_same_names(self, hadoop: MiniHadoop) -> None:
        info = get(f"{hadoop.namenode_url}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo")["beans"][0]
        assert {node.split(":")[0] for node in json.loads(info["LiveNodes"])} == {"127.0.0.2", "127.0.0.3"}
        nodes = get(f"{hadoop.resourcemanager_url}/ws/v1/cluster/nodes")["nodes"]["node"]
        assert {node["nodeHostName"] for node in nodes} == {"127.0.0.2", "127.0.0.3"}
        assert {(node["availMemoryMB"] + node["usedMemoryMB"], node["state"]) for node in nodes} == {(4096, "RUNNING")}
        assert {node["availableVirtualCores"] + node["usedVirtualCores"] for node in nodes} == {4}

    def test_block_locations_name_the_nodes(self, hadoop: MiniHadoop, tmp_path: Path) -> None:
        (tmp_path / "blocks").write_bytes(os.urandom(64 * 4096))
        run("hdfs", "dfs", "-D", "dfs.blocksize=4096", "-put", str(tmp_path / "blocks"), "/tmp/located")
        answer = get(f"{hadoop.namenode_url}/webhdfs/v1/tmp/located?op=GETFILEBLOCKLOCATIONS&user.name={user()}")
        blocks = answer["BlockLocations"]["BlockLocation"]
        assert [block["offset"] for block in blocks] == list(range(0, 64 * 4096, 4096))
        assert {tuple(block["hosts"]) for block in blocks} == {("127.0.0.2",), ("127.0.0.3",)}  # one replica, on either
        run("hdfs", "dfs", "-rm", "-skipTrash", "/tmp/located")

    def test_homes_are_there(self, hadoop: MiniHadoop) -> None:
        listed = [line.split() for line in run("hdfs", "dfs", "-ls", "/", "/user").splitlines()]
        rights = {words[-1]: (words[0], words[2]) for words in listed if words[0].startswith("d")}
        assert rights["/tmp"] == ("drwxrwxrwt", user())
        assert rights[f"/user/{user()}"] == ("drwxr-xr-x", user())

    def test_commands(self, hadoop: MiniHadoop, tmp_path: Path) -> None:
        (tmp_path / "greeting").write_text("hello elephant\n")
        run("hdfs", "dfs", "-put", str(tmp_path / "greeting"), "/tmp/greeting")
        assert run("hadoop", "fs", "-cat", "/tmp/greeting") == "hello elephant\n"
        assert "is HEALTHY" in run("hdfs", "fsck", "/tmp/greeting")
        assert "Live datanodes (2)" in run("hdfs", "dfsadmin", "-report")
        assert run("hdfs", "getconf", "-confKey", "fs.defaultFS").strip() == hadoop.default_fs
        assert "Total Nodes:2" in run("yarn", "node", "-list")
        assert "Total number of applications" in run("yarn", "application", "-list")
        assert "State : RUNNING" in run("yarn", "queue", "-status", "default")
        conf, *jars = run("yarn", "classpath", "--glob").strip().split(":")
        assert conf == str(hadoop.conf_dir)
        assert len(jars) > 100
        assert all(Path(jar).is_file() for jar in jars)
        wrong = subprocess.run(["yarn", "dance"], capture_output=True, text=True, check=False)
        assert wrong.returncode == 2
        assert "application" in wrong.stderr

    def test_the_namenode_comes_back_with_its_files(self, hadoop: MiniHadoop, tmp_path: Path) -> None:
        (tmp_path / "kept").write_text("still here")
        run("hdfs", "dfs", "-put", str(tmp_path / "kept"), "/tmp/kept")
        before = hadoop.daemons["namenode"]
        hadoop.kill("namenode")
        assert hadoop.daemons["namenode"] is None
        assert not hadoop.is_ready("namenode")
        hadoop.restart("namenode")
        after = hadoop.daemons["namenode"]
        assert before
        assert after
        assert before.pid != after.pid
        assert run("hdfs", "dfs", "-cat", "/tmp/kept") == "still here"

    def test_a_dead_datanode_is_noticed_and_comes_back(self, hadoop: MiniHadoop) -> None:
        def live() -> int:
            state = get(f"{hadoop.namenode_url}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState")["beans"][0]
            return int(state["NumLiveDataNodes"])

        hadoop.kill("datanode-2")
        until(lambda: live() == 1, "the NameNode counts one DataNode", 30)
        hadoop.restart("datanode-2")
        assert live() == 2

    def test_an_unknown_daemon_is_named_with_what_is_near(self, hadoop: MiniHadoop) -> None:
        with pytest.raises(InputError, match=r"daemon: got 'datanode-9': did you mean 'datanode-[12]'"):
            hadoop.kill("datanode-9")

    def test_a_second_start_is_refused(self, hadoop: MiniHadoop) -> None:
        pids = {name: process and process.pid for name, process in hadoop.daemons.items()}
        with pytest.raises(AlreadyRunning, match=rf"runs already in {hadoop.folder} \(6 daemons\)"):
            MiniHadoop(hadoop.folder).start()
        refused = CliRunner().invoke(command, ["start", "--folder", str(hadoop.folder)])
        assert refused.exit_code == 1
        assert "howdah mini stop --folder" in refused.output
        assert pids == {name: process and process.pid for name, process in hadoop.daemons.items()}

    def test_status_and_env_on_the_command_line(self, hadoop: MiniHadoop) -> None:
        shown = CliRunner().invoke(command, ["status", "--json", "--folder", str(hadoop.folder)])
        assert shown.exit_code == 0, shown.output
        facts = json.loads(shown.output)
        assert facts["default_fs"] == hadoop.default_fs
        assert {daemon["state"] for daemon in facts["daemons"].values()} == {"ready"}
        exported = CliRunner().invoke(command, ["env", "--folder", str(hadoop.folder)]).output
        shell = f"eval {shlex.quote(exported)}; echo $HADOOP_CONF_DIR; command -v hdfs; test -x $JAVA_HOME/bin/java"
        assert run("sh", "-c", shell).split() == [str(hadoop.conf_dir), str(hadoop.folder / "bin" / "hdfs")]

    def test_yarn_runs_kills_what_is_too_big_keeps_logs_and_survives_its_master(self, hadoop: MiniHadoop) -> None:
        import skein

        eat = f"{sys.executable} -c 'import signal; x = b\"x\" * (600 << 20); signal.pause()'"
        small = skein.Resources(memory="256 MiB", vcores=1)
        services = {
            "good": skein.Service(resources=small, script="echo seen by $NM_HOST; sleep 15"),
            "greedy": skein.Service(resources=small, script=eat, allow_failures=True),
        }
        with skein.Client() as client:
            app = client.submit_and_connect(skein.ApplicationSpec(name="mini", services=services))
            failed = until(lambda: app.get_containers(services=["greedy"], states=["FAILED"]), "the memory check")
            assert "of 256 MB physical memory used" in failed[0].exit_message
            hadoop.restart("resourcemanager")
            report = until(lambda: (r := client.application_report(app.id)).state == "FINISHED" and r, "the end", 90)
            assert report.final_status == "SUCCEEDED"
        logs = ["yarn", "logs", "-applicationId", app.id]
        told = until(lambda: "seen by 127.0.0." in (out := run(*logs)) and out, "aggregated logs")
        assert "directory.info" not in told
        until(lambda: not containers_of(hadoop.folder), "no container process left")

    def test_a_nodemanager_dies_with_or_without_its_containers(self, hadoop: MiniHadoop) -> None:
        fake = os.environ | {"LOCAL_DIRS": f"{hadoop.folder}/daemons/nodemanager-2/data/local"}
        with subprocess.Popen(["sleep", "600"], env=fake) as container:
            hadoop.kill("nodemanager-2")
            assert container.poll() is None
            hadoop.kill("nodemanager-2", containers=True)
            assert container.wait(10) < 0
        assert not hadoop.is_ready("nodemanager-2")  # though the ResourceManager still counts it
        hadoop.restart("nodemanager-2")
        assert hadoop.is_ready("nodemanager-2")


# -- on one of its own


@pytest.mark.hadoop
def test_start_stop_start_from_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    where = ["--folder", str(folder)]
    mini = MiniHadoop(folder)
    # A process that a NodeManager of a crashed Hadoop left behind.
    orphan = subprocess.Popen(
        ["sleep", "600"], env=os.environ | {"LOCAL_DIRS": f"{folder}/daemons/nodemanager-1/data/local/usercache"}
    )
    try:
        ports_before = None
        for round in (1, 2):
            begun = time.monotonic()
            started = CliRunner().invoke(command, ["start", "--nodes", "2", "--racks", "--json", *where])
            seconds = time.monotonic() - begun
            assert started.exit_code == 0, started.output
            assert seconds < 30
            facts = json.loads(started.stdout)
            ports = {name: daemon["address"] for name, daemon in facts["daemons"].items()}
            assert ports_before in (None, ports)
            ports_before = ports
            if round == 1:
                assert orphan.wait(10) < 0
                racks = {
                    node["rack"] for node in get(f"{mini.resourcemanager_url}/ws/v1/cluster/nodes")["nodes"]["node"]
                }
                assert racks == {"/rack-1", "/rack-2"}
                env = os.environ | mini.env()
                topology = run("hdfs", "dfsadmin", "-printTopology", env=env)
                assert "Rack: /rack-1" in topology
                run("hdfs", "dfs", "-touchz", "/kept", env=env)
            else:
                run("hdfs", "dfs", "-test", "-e", "/kept", env=os.environ | mini.env())
            pids = [process.pid for process in mini.daemons.values() if process]
            assert len(pids) == 6
            if round == 2:  # a crash of everything: the next command cleans up
                for daemon in mini.daemons:
                    mini.kill(daemon)
            stopped = CliRunner().invoke(command, ["stop", *where])
            assert stopped.exit_code == 0, stopped.output
            assert not daemons_of(folder)
            assert not any(alive(pid, tag(folder, "")) for pid in pids)
        assert CliRunner().invoke(command, ["status", *where]).exit_code == 1
        assert "no daemon ran" in CliRunner().invoke(command, ["stop", *where]).output
        fewer = CliRunner().invoke(command, ["start", "--nodes", "1", *where])
        assert fewer.exit_code == 1
        assert "would lose blocks" in fewer.output
    finally:
        orphan.kill()
        mini.stop()


@pytest.mark.hadoop
def test_a_daemon_that_cannot_start_is_named_and_nothing_stays() -> None:
    mini = MiniHadoop(nodes=1)
    state = mini.prepare()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", state.ports["namenode"]["rpc"]))
        taken.listen()
        with pytest.raises(
            DaemonFailed, match=r"(?s)namenode ended with exit code 1; the end of .*namenode\.log.*in use"
        ):
            mini.start()
    assert not daemons_of(mini.folder)
    assert not mini.folder.exists()


@pytest.mark.hadoop
def test_it_ends_with_the_process_that_made_it() -> None:
    script = (
        "import sys, howdah.yarn_app.mini as m; h = m.MiniHadoop(nodes=1); state = h.prepare(); "
        "from howdah.yarn_app.mini.daemons import spawn; from howdah.yarn_app.mini.settings import Layout; "
        "spawn(Layout(h.folder), state, 'resourcemanager', dies_with_parent=True); "
        "print(h.folder, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    folder = Path(parent.stdout.readline().strip())
    try:
        assert list(until(lambda: daemons_of(folder), "the ResourceManager's process")) == ["resourcemanager"]
        parent.kill()
        until(lambda: not daemons_of(folder), "it is gone", 30)
    finally:
        parent.kill()
        parent.communicate()
        left = MiniHadoop(folder)
        left.temporary = True
        left.stop()


def user() -> str:
    return psutil.Process().username()


def alive(pid: int, marked: str) -> bool:
    try:
        return any(word.startswith(marked) for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
