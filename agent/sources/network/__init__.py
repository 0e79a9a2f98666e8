"""Sources that listen for syslog messages: UDP, TCP and unix datagram sockets."""
