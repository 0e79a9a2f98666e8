"""The services of the made-up host: what each writes, and when."""

from training.synth import daemons, machine, people
from training.synth.host import Activity
from training.synth.rhythm import CUSTOMERS, DAY, HOUR, MINUTE, OFFICE, PEOPLE, STEADY, about, every

_HUPED = (
    '[origin software="rsyslogd" swVersion="8.2102.0" x-pid="455" x-info="https://www.rsyslog.com"] rsyslogd was HUPed'
)

SERVICES: dict[str, list[Activity]] = {
    "cron": [
        Activity(every(10 * MINUTE, 1), daemons.cron("root", 1), job="cron every 10 minutes"),
        Activity(every(HOUR, 17 * MINUTE + 1), daemons.cron("root", 2)),
        Activity(every(DAY, 6 * HOUR + 25 * MINUTE + 1), daemons.cron("root", 90)),
    ],
    "sshd": [
        Activity(about(24, PEOPLE), people.login(people.OFFICE_USERS)),
        Activity(about(2, STEADY), people.login(people.ON_CALL)),
        Activity(about(0.7, PEOPLE), people.mistyped),
        Activity(about(4, STEADY), people.scanner),
    ],
    "systemd": [
        Activity(every(DAY, 5.0, 300), machine.unit("logrotate", "Rotate log files", 3)),
        Activity(every(DAY / 2, 6 * HOUR, HOUR), machine.unit("apt-daily", "Daily apt download activities", 20)),
        Activity(every(DAY, 6 * HOUR + 30 * MINUTE, HOUR), machine.upgrade),
        Activity(every(DAY, 7 * HOUR, 600), machine.unit("man-db", "Daily man-db regeneration", 20)),
        Activity(
            every(DAY, 15 * MINUTE, 60), machine.unit("systemd-tmpfiles-clean", "Cleanup of Temporary Directories", 1)
        ),
        Activity(every(7 * DAY, 2 * HOUR, 60), machine.unit("fstrim", "Discard unused blocks", 30)),
        Activity(every(DAY / 2, 4 * HOUR, HOUR), machine.unit("certbot", "Certbot", 3)),
        Activity(every(60 * DAY, 9 * DAY + 5 * HOUR, HOUR), machine.certificate),
        Activity(about(0.06, PEOPLE), machine.reboot),
    ],
    "dhclient": [Activity(every(28 * MINUTE, 100, 60), daemons.lease, job="renewal of the lease")],
    "postfix": [Activity(about(60, CUSTOMERS), daemons.mail)],
    "shopd": [
        Activity(every(5 * MINUTE, 30, 2), daemons.shop, job="summary of the shop"),
        Activity(about(5, OFFICE), people.deployment),
    ],
    "kernel": [
        Activity(about(120, STEADY), machine.blocked),
        Activity(about(0.3), machine.link),
        Activity(about(0.2, PEOPLE), machine.usb),
        Activity(about(0.4), machine.audit),
    ],
    "backup": [Activity(every(DAY, 2 * HOUR + 30 * MINUTE, 20), daemons.backup)],
    "smartd": [Activity(every(30 * MINUTE, 400, 2), daemons.temperature)],
    "rsyslogd": [Activity(every(DAY, 12.0, 300), daemons.constant("rsyslogd", 455, _HUPED))],
    "ntpd": [Activity(about(3), daemons.constant("ntpd", 520, "synchronized to 192.0.2.123, stratum 2"))],
}
