# The gateway: HAProxy with long-term support, its configuration from the operator's ConfigMap.
# HAProxy's own image works as it is; this one only pins the version and says that it does not run as root.
FROM haproxy:3.0
# Finish the requests that run, then end.
STOPSIGNAL SIGUSR1
USER 10001:10001
