"""A real SMTP server: prints its port, and then each mail that it took, a line of JSON each.

Arguments: the port (0: any), the certificate and key for STARTTLS (or nothing), user and password that it asks for.
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 there is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.content
        mail = message_from_bytes(raw, policy=policy.default)
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "hello": session.host_name,
                "encrypted": session.ssl is not None,
                "user": session.auth_data.decode() if session.auth_data else None,
                "headers": [[name, str(value)] for name, value in mail.items()],
                "head": raw.split(b"\r\n\r\n", 1)[0].decode("ascii"),
                "longest_line": max(len(line) for line in raw.split(b"\r\n")),
                "kind": mail.get_content_type(),
                "parts": [[part.get_content_type(), part.get_content()] for part in mail.iter_parts()],
            }
        )
        return "250 2.0.0 taken"


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        fits = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=fits, handled=False, auth_data=data.login if fits else None)

    return check


async def main(port, certificate=None, key=None, user=None, password=None):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    asks = {"auth_required": True, "authenticator": authenticator(user, password)} if user else {}

    def serve():
        return SMTP(Handler(), tls_context=context, require_starttls=context is not None, hostname="localhost", **asks)

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", int(port))
    say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
