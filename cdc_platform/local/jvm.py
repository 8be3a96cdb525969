"""How the Java programs of the stack are started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cdc_platform.local.service import Paths

_LOG4J = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS} %-5p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""
_NOISY = {
    "kafka-config": ("org.apache.kafka.common.config.AbstractConfig", "warn"),
    "consumer": ("org.apache.kafka.clients.consumer", "warn"),
    "producer": ("org.apache.kafka.clients.producer", "warn"),
    "admin": ("org.apache.kafka.clients.admin", "warn"),
    "reflections": ("org.reflections", "error"),
}

FRUGAL: Final = (
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)
"""A JVM for a small machine; it ends rather than live on without memory."""


def argv(
    java: Path, heap_mb: int, class_path: str, main_class: str, *arguments: str, log4j: Path
) -> tuple[str, ...]:
    """A frugal JVM that logs as `write_log4j` says."""
    return (
        str(java),
        f"-Xmx{heap_mb}m",
        *FRUGAL,
        f"-Dlog4j2.configurationFile={log4j}",
        "-cp",
        class_path,
        main_class,
        *arguments,
    )


def write_log4j(paths: Paths) -> None:
    """One logging configuration for all of them: to standard output, which is the service's log."""
    lines = [_LOG4J]
    for key, (logger, level) in _NOISY.items():
        lines.append(f"logger.{key}.name = {logger}\nlogger.{key}.level = {level}\n")
    write(log4j(paths), "".join(lines))


def log4j(paths: Paths) -> Path:
    """Where `write_log4j` writes."""
    return paths.config / "log4j2.properties"


def write_properties(path: Path, properties: Mapping[str, object]) -> None:
    """A Java properties file. Backslashes are escaped, as Java reads them as escapes."""
    lines = (f"{key}={str(value).replace(chr(92), chr(92) * 2)}" for key, value in properties.items())
    write(path, "\n".join(lines) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
