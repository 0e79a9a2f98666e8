"""The services of the made-up host: what each writes, and when."""

from training.synth import daemons, machine, people
from training.synth.host import Service
from training.synth.rhythm import CUSTOMERS, DAY, HOUR, MINUTE, OFFICE, PEOPLE, STEADY, about, every

_HUPED = (
    '[origin software="rsyslogd" swVersion="8.2102.0" x-pid="455" x-info="https://www.rsyslog.com"] rsyslogd was HUPed'
)

SERVICES: dict[str, list[Service]] = {
    "cron": [
        Service(every(10 * MINUTE, 1), daemons.cron("root", 1), job="cron every 10 minutes"),
        Service(every(HOUR, 17 * MINUTE + 1), daemons.cron("root", 2)),
        Service(every(DAY, 6 * HOUR + 25 * MINUTE + 1), daemons.cron("root", 90)),
    ],
    "sshd": [
        Service(about(24, PEOPLE), people.login(people.OFFICE_USERS)),
        Service(about(2, STEADY), people.login(people.ON_CALL)),
        Service(about(0.7, PEOPLE), people.mistyped),
        Service(about(4, STEADY), people.scanner),
    ],
    "systemd": [
        Service(every(DAY, 5.0, 300), machine.unit("logrotate", "Rotate log files", 3)),
        Service(every(DAY / 2, 6 * HOUR, HOUR), machine.unit("apt-daily", "Daily apt download activities", 20)),
        Service(every(DAY, 6 * HOUR + 30 * MINUTE, HOUR), machine.upgrade),
        Service(every(DAY, 7 * HOUR, 600), machine.unit("man-db", "Daily man-db regeneration", 20)),
        Service(
            every(DAY, 15 * MINUTE, 60), machine.unit("systemd-tmpfiles-clean", "Cleanup of Temporary Directories", 1)
        ),
        Service(every(7 * DAY, 2 * HOUR, 60), machine.unit("fstrim", "Discard unused blocks", 30)),
        Service(every(DAY / 2, 4 * HOUR, HOUR), machine.unit("certbot", "Certbot", 3)),
        Service(every(60 * DAY, 9 * DAY + 5 * HOUR, HOUR), machine.certificate),
        Service(about(0.06, PEOPLE), machine.reboot),
    ],
    "dhclient": [Service(every(28 * MINUTE, 100, 60), daemons.lease, job="renewal of the lease")],
    "postfix": [Service(about(60, CUSTOMERS), daemons.mail)],
    "shopd": [
        Service(every(5 * MINUTE, 30, 2), daemons.shop, job="summary of the shop"),
        Service(about(5, OFFICE), people.deployment),
    ],
    "kernel": [
        Service(about(120, STEADY), machine.blocked),
        Service(about(0.3), machine.link),
        Service(about(0.2, PEOPLE), machine.usb),
        Service(about(0.4), machine.audit),
    ],
    "backup": [Service(every(DAY, 2 * HOUR + 30 * MINUTE, 20), daemons.backup)],
    "smartd": [Service(every(30 * MINUTE, 400, 2), daemons.temperature)],
    "rsyslogd": [Service(every(DAY, 12.0, 300), daemons.said("rsyslogd", 455, _HUPED))],
    "ntpd": [Service(about(3), daemons.said("ntpd", 520, "synchronized to 192.0.2.123, stratum 2"))],
}
