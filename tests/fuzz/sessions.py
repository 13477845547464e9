"""The sessions of one source database, which run the generator's steps."""

from __future__ import annotations

import json

import psycopg
from cluster import Cluster
from generator import Step
from psycopg.pq import ExecStatus, TransactionStatus

SESSIONS = 3
CODECS = {"UTF8": "utf-8", "LATIN1": "latin-1", "EUC_JP": "euc_jp", "SQL_ASCII": "utf-8"}
# A lock is never released while a session waits for it, as the sessions take turns.
SESSION = "-c lock_timeout=30ms -c statement_timeout=20s -c client_min_messages=error"
_SAVEPOINT, _RELEASE, _BACK = "SAVEPOINT guard", "RELEASE guard", "ROLLBACK TO guard"


class Sessions:
    """The sessions of one source database, which run steps."""

    def __init__(self, cluster: Cluster, dbname: str, encoding: str) -> None:
        self.codec = CODECS[encoding]
        self.connections = [cluster.connect(dbname, options=SESSION, client_encoding=encoding) for _ in range(SESSIONS)]

    def close(self) -> None:
        """End the sessions."""
        for conn in self.connections:
            conn.close()

    def query(self, session: int, sql: str) -> object:
        """The JSON value that one statement returns."""
        result = self.connections[session].pgconn.exec_(sql.encode())
        value = result.get_value(0, 0) if result.status == ExecStatus.TUPLES_OK else None
        if value is None:
            raise RuntimeError(f"the catalog could not be read: {result.error_message.decode(errors='replace')}")
        return json.loads(value.decode(self.codec, "surrogateescape"))

    def in_failed_transaction(self, session: int) -> bool:
        """Whether nothing but ROLLBACK is accepted."""
        return self.connections[session].pgconn.transaction_status == TransactionStatus.INERROR

    def run(self, step: Step) -> str | None:
        """Run a step; return the server's message if it rejected it."""
        inside = self.connections[step.session].pgconn.transaction_status == TransactionStatus.INTRANS
        if step.guarded and inside:
            self._execute(step.session, _SAVEPOINT)
        message = self._send(step)
        if step.guarded and inside:
            if message is not None:
                self._execute(step.session, _BACK)
            self._execute(step.session, _RELEASE)
        return message

    def _execute(self, session: int, sql: str) -> str | None:
        return _message(self.connections[session].pgconn.exec_(sql.encode()))

    def _send(self, step: Step) -> str | None:
        pgconn = self.connections[step.session].pgconn
        try:
            sql = step.sql.encode(self.codec, "surrogateescape")
            if step.how == "extended":
                values = [None if p is None else p.encode(self.codec, "surrogateescape") for p in step.parameters]
                return _message(pgconn.exec_params(sql, values))
            if step.how == "copy":
                data = step.data.encode(self.codec, "surrogateescape")
                result = pgconn.exec_(sql)
                if result.status != ExecStatus.COPY_IN:
                    return _message(result)
                pgconn.put_copy_data(data)
                pgconn.put_copy_end()
                messages = [_message(r) for r in iter(pgconn.get_result, None)]
                return next((m for m in messages if m), None)
            return _message(pgconn.exec_(sql))
        except UnicodeEncodeError as error:
            return str(error)


def _message(result: psycopg.pq.abc.PGresult) -> str | None:
    if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.NONFATAL_ERROR):
        return result.error_message.decode(errors="replace")
    return None
