#!/bin/sh
# `hadoop`, `hdfs` and `yarn` of a small Hadoop (howdah mini): the commands that people and skein use, no more.
conf=${HADOOP_CONF_DIR:-@CONF@}
jars=@JARS@
java=@JAVA@/bin/java
me=$(basename "$0")

usage() {
    case $me in
        yarn) known="application applicationattempt container node queue logs rmadmin classpath version" ;;
        hdfs) known="dfs dfsadmin fsck getconf haadmin classpath version" ;;
        *) known="fs classpath version" ;;
    esac
    echo "$me: the commands here are: $known" >&2
    exit 2
}

[ $# -gt 0 ] || usage
command=$1
shift

case $me:$command in
    *:classpath)
        if [ "$1" = --glob ]; then
            printf %s "$conf"
            for jar in "$jars"/*.jar; do printf ':%s' "$jar"; done
            echo
        else
            echo "$conf:$jars/*"
        fi
        exit 0 ;;
    *:version) main=org.apache.hadoop.util.VersionInfo ;;
    hadoop:fs | hdfs:dfs) main=org.apache.hadoop.fs.FsShell ;;
    hdfs:dfsadmin) main=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
    hdfs:fsck) main=org.apache.hadoop.hdfs.tools.DFSck ;;
    hdfs:getconf) main=org.apache.hadoop.hdfs.tools.GetConf ;;
    hdfs:haadmin) main=org.apache.hadoop.hdfs.tools.DFSHAAdmin ;;
    yarn:app | yarn:application | yarn:applicationattempt | yarn:container)
        [ "$command" = app ] && command=application
        main=org.apache.hadoop.yarn.client.cli.ApplicationCLI
        set -- "$command" "$@" ;;
    yarn:node) main=org.apache.hadoop.yarn.client.cli.NodeCLI ;;
    yarn:queue) main=org.apache.hadoop.yarn.client.cli.QueueCLI ;;
    yarn:logs) main=org.apache.hadoop.yarn.client.cli.LogsCLI ;;
    yarn:rmadmin) main=org.apache.hadoop.yarn.client.cli.RMAdminCLI ;;
    *) usage ;;
esac

# shellcheck disable=SC2086  # HADOOP_CLIENT_OPTS is a list of words
exec "$java" -Xmx192m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -Djava.net.preferIPv4Stack=true --add-opens java.base/java.lang=ALL-UNNAMED ${HADOOP_CLIENT_OPTS:-} \
    -cp "$conf:$jars/*" "$main" "$@"
