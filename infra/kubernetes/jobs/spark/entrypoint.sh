#!/bin/sh
# What Spark starts in its pods: `driver ARGUMENTS OF spark-submit` or `executor`, told by the environment. PySpark from a
# package index brings no such script, and the project's images get their Java from one too.
set -eu
role="$1"
shift
JAVA_HOME="$(python -c 'from components.core.java import java_home; print(java_home())')"
SPARK_HOME="$(python -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')"
export JAVA_HOME SPARK_HOME
case "$role" in
  driver)
    exec "$SPARK_HOME/bin/spark-submit" --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" --deploy-mode client "$@"
    ;;
  executor)
    # SPARK_JAVA_OPT_0, _1, ...: the JVM's options, one each.
    set --
    index=0
    while eval "[ -n \"\${SPARK_JAVA_OPT_$index+is}\" ]"; do
      eval "set -- \"\$@\" \"\$SPARK_JAVA_OPT_$index\""
      index=$((index + 1))
    done
    exec "$JAVA_HOME/bin/java" "$@" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$SPARK_HOME/jars/*" \
      org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend --driver-url "$SPARK_DRIVER_URL" \
      --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" --app-id "$SPARK_APPLICATION_ID" \
      --hostname "$SPARK_EXECUTOR_POD_IP" --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
      --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
  *)
    echo "entrypoint: $role: neither driver nor executor" >&2
    exit 2
    ;;
esac
