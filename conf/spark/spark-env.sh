# Spark's scripts read this before they start a JVM, with the arguments of spark-submit as theirs.

# If nothing knows this host's name, spark-submit ends before it has looked at the program. On one machine nobody needs
# the name. What may run on a cluster is left as it is: there the name, or SPARK_LOCAL_IP, must lead to this host.
case "$*" in
    *master[=\ ]local*) may_be_cluster=no ;;
    *master[=\ ]* | *--properties-file*) may_be_cluster=yes ;;
    *) may_be_cluster=no ;;
esac
if [ "$1" = org.apache.spark.deploy.SparkSubmit ] && [ $may_be_cluster = no ] && [ -z "$SPARK_LOCAL_IP" ]; then
    getent ahosts "$(uname -n)" >/dev/null
    [ $? -ne 2 ] || SPARK_LOCAL_IP=127.0.0.1 # 2: there is no such name
fi

# Java reads its arguments by the locale. In that of C, as cron and slim containers have it, letters beyond ASCII in a
# path would reach the program as question marks.
[ "$(locale charmap 2>/dev/null)" != ANSI_X3.4-1968 ] || export LC_ALL=C.UTF-8

# Java knows no home of a user without a name, as containers may be run by, and spark-submit would end in a stack.
if [ "$1" = org.apache.spark.deploy.SparkSubmit ] && ! id -un >/dev/null 2>&1; then
    echo "error[4]: user $(id -u) has no name here, and Spark does not start for such; add a line for it to /etc/passwd," \
        "or run as another user" >&2
    exit 4
fi
