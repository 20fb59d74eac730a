"""testssl.sh on our own listeners: nothing that it holds to be worse than "low"."""
import json
import os
import subprocess

import pytest

from hayauma import ROOT, Hayauma

PEER = ROOT / "build" / "peers" / "testssl"
# What is about the certificate of the test, which nobody vouches for, and what testssl
# cannot try with the OpenSSL that is here.
OF_THE_TEST = ("cert_chain_of_trust", "cert_trust", "cert_expirationStatus", "cert_caIssuers",
               "cert_revocation", "cert_notAfter", "overall_grade", "grade_cap_reason",
               "engine_problem", "sessionresumption_")
STARTTLS = {"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3"}
BAD = ("MEDIUM", "HIGH", "CRITICAL", "WARN")


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["submissions", "submission", "smtp", "imaps", "imap",
                                      "pop3s", "pop3"])
def test_nothing_above_low(tmp_path, protocol):
    subprocess.run([ROOT / "tools" / "peers", "testssl"], check=True, stdout=subprocess.DEVNULL)
    found = tmp_path / "found.json"
    starttls = ["-t", STARTTLS[protocol]] if protocol in STARTTLS else []
    etc = PEER / "etc" / "testssl"
    environment = {**os.environ, "TESTSSL_INSTALL_DIR": str(
        etc if etc.is_dir() else PEER / "usr" / "share" / "testssl")}
    with Hayauma(listen={"smtp": 0, protocol: 0}, tls=True,
                 limits="errors_per_minute = 0 connections_per_client = 0") as server:
        done = subprocess.run(
            [PEER / "usr" / "bin" / "testssl", "--quiet", "--color", "0", "--warnings", "batch",
             "--ip", "127.0.0.1", "--nodns", "none", "--jsonfile", found, *starttls,
             f"{server.hostname}:{server.ports[protocol]}"], env=environment, text=True,
            capture_output=True, timeout=1500, check=False)
        assert server.greets("smtp")
    assert found.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    rows = json.loads(found.read_text())
    assert any(row["id"] == "TLS1_3" and "offered" in row["finding"] for row in rows), rows[:20]
    bad = [row for row in rows if row["severity"] in BAD
           and not row["id"].startswith(OF_THE_TEST)]
    assert not bad, "\n".join(f"{row['id']}: {row['severity']}: {row['finding']}" for row in bad)
