"""Command lines with made-up secrets, and ordinary ones without. Redaction is measured with them.

Every secret is generated at run time in the form that its issuer documents. So the repository contains none,
and no scanner reports one here. Secrets are placed where people put them: as a word, an option, a header, in
JSON, in a script.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
URL_SAFE = ALNUM + "-_"
UPPER = string.ascii_uppercase + string.digits
BASE32 = string.ascii_uppercase + "234567"
PUNCTUATED = ALNUM + "!#%+./:=?@^_~-"
WINDOW = 8
"""The number of consecutive characters of a secret that count as a leak."""


@dataclass(frozen=True)
class Planted:
    """A command line with a secret; ``kind`` is the feature by which it can be recognised."""

    kind: str
    words: tuple[str, ...]
    secret: str

    def leaks(self, shown: list[str]) -> bool:
        """Whether the shown text has the secret or a significant part of it."""
        text, size = "\n".join(shown), min(WINDOW, len(self.secret))
        return any(self.secret[at : at + size] in text for at in range(len(self.secret) - size + 1))


def _tokens(rng: random.Random) -> dict[str, list[str]]:
    def some(alphabet: str, count: int) -> str:
        return "".join(rng.choices(alphabet, k=count))

    def b64(data: str) -> str:
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")

    header = b64(json.dumps({"alg": "RS256", "typ": "JWT"}))
    body = b64(json.dumps({"sub": some(ALNUM, 12), "exp": rng.randrange(2**31)}))
    return {
        "github": [p + "_" + some(ALNUM, 36) for p in ("ghp", "gho", "ghu", "ghs", "ghr")]
        + ["github" + "_pat_" + some(ALNUM, 22) + "_" + some(ALNUM, 59)],
        "gitlab": [
            f"gl{p}-" + some(URL_SAFE, 20)
            for p in ("pat", "dt", "oas", "rt", "cbt", "ptt", "ft", "imt", "agent", "soat", "ffct")
        ]
        + ["glpat-" + some(URL_SAFE, 27) + ".01." + some(HEX, 9)],
        "slack": [
            f"xox{p}-{some('123456789', 12)}-{some('123456789', 12)}-{some(ALNUM, 24)}" for p in "bpare"
        ]
        + [f"xapp-1-A{some(UPPER, 10)}-{some('123456789', 13)}-{some(HEX, 64)}"],
        "aws": [p + some(BASE32, 16) for p in ("AKIA", "ASIA")],
        "google": [
            "AIza" + some(URL_SAFE, 35),
            "GOCSPX" + "-" + some(URL_SAFE, 28),
            "ya29" + "." + some(URL_SAFE, 120),
        ],
        "azure": [some(ALNUM, 3) + "8Q~" + some(ALNUM + "_~.-", 34)],
        "stripe": [f"{p}_{m}_" + some(ALNUM, 24) for p in ("sk", "rk") for m in ("live", "test")]
        + ["sk-live-" + some(ALNUM, 24), "whsec" + "_" + some(ALNUM, 32)],
        "npm": ["npm" + "_" + some(ALNUM, 36)],
        "pypi": ["pypi" + "-AgEIcHlwaS5vcmc" + some(URL_SAFE, 120)],
        "rubygems": ["rubygems" + "_" + some(HEX, 48)],
        "crates.io": ["cio" + some(ALNUM, 32)],
        "nuget": ["oy2" + some(string.ascii_lowercase + string.digits, 43)],
        "docker": ["dckr" + f"_{p}_" + some(URL_SAFE, 27) for p in ("pat", "oat")],
        "jfrog": ["AKCp" + some(ALNUM, 69)],
        "hashicorp": [
            "hvs" + "." + some(URL_SAFE, 90),
            "hvb" + "." + some(URL_SAFE, 140),
            some(ALNUM, 14) + ".atlasv1" + "." + some(URL_SAFE, 67),
        ],
        "openai": ["sk-proj-" + some(URL_SAFE, 120), "sk-" + some(ALNUM, 48)],
        "anthropic": ["sk-ant-api03-" + some(URL_SAFE, 93) + "AA"],
        "hugging face": ["hf" + "_" + some(string.ascii_letters, 34)],
        "groq": ["gsk" + "_" + some(ALNUM, 52)],
        "xai": ["xai-" + some(ALNUM, 80)],
        "sendgrid": ["SG" + "." + some(URL_SAFE, 22) + "." + some(URL_SAFE, 43)],
        "mailgun": ["key-" + some(HEX, 32)],
        "mailchimp": [some(HEX, 32) + "-us12"],
        "twilio": ["SK" + some(HEX, 32)],
        "telegram": [some("123456789", 10) + ":AA" + some(URL_SAFE, 33)],
        "discord": ["M" + some(ALNUM, 23) + "." + some(URL_SAFE, 6) + "." + some(URL_SAFE, 38)],
        "digitalocean": ["dop" + "_v1_" + some(HEX, 64)],
        "heroku": ["HRKU-" + "AA" + some(URL_SAFE, 58)],
        "shopify": ["shpat" + "_" + some(HEX, 32)],
        "databricks": ["dapi" + some(HEX, 32)],
        "grafana": ["glsa" + "_" + some(ALNUM, 32) + "_" + some(HEX, 8), "glc" + "_" + some(ALNUM, 64)],
        "new relic": ["NRAK-" + some(UPPER, 27)],
        "sentry": ["sntrys" + "_" + some(ALNUM, 80), "sntryu" + "_" + some(HEX, 64)],
        "sonarqube": ["sqp" + "_" + some(HEX, 40)],
        "postman": ["PMAK-" + some(HEX, 24) + "-" + some(HEX, 34)],
        "linear": ["lin" + "_api_" + some(ALNUM, 40)],
        "notion": ["ntn" + "_" + some(ALNUM, 46)],
        "figma": ["figd" + "_" + some(URL_SAFE, 40)],
        "airtable": ["pat" + some(ALNUM, 14) + "." + some(HEX, 64)],
        "atlassian": ["ATATT3xFfGF0" + some(URL_SAFE, 180), "ATBB" + some(ALNUM, 32)],
        "doppler": ["dp" + ".pt." + some(ALNUM, 43)],
        "pulumi": ["pul-" + some(HEX, 40)],
        "supabase": ["sbp" + "_" + some(HEX, 40)],
        "planetscale": ["pscale" + "_tkn_" + some(URL_SAFE, 43)],
        "circleci": ["CCIPAT" + "_" + some(ALNUM, 22) + "_" + some(HEX, 40)],
        "tailscale": ["tskey-auth-" + some(ALNUM, 16) + "-" + some(ALNUM, 32)],
        "age": ["AGE-SECRET-KEY-1" + some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)],
        "1password": ["ops" + "_" + b64(json.dumps({"secret": some(ALNUM, 60)}))],
        "alibaba": ["LTAI" + some(ALNUM, 20)],
        "jwt": [f"{header}.{body}.{some(URL_SAFE, 86)}", f"{header}.{body}.", f"{header}..{body}.{some(URL_SAFE, 20)}.{some(URL_SAFE, 22)}"],
    }  # fmt: skip


def _around(token: str) -> Iterator[tuple[str, ...]]:
    """Contexts for a token. No name in them marks it as a secret."""
    yield (token,)
    yield ("tool", "--value", token)
    yield ("tool", f"--value={token}")
    yield ("tool", json.dumps({"value": token, "more": 1}))
    yield ("curl", "-H", f"X-Value: {token}", "https://api.example.com/v1")
    yield ("curl", f"https://api.example.com/v1?v={token}&n=1")
    yield ("sh", "-c", f"set -e\nprintf %s '{token}' > /tmp/x; tool \"{token}\" | cat")


NAMES = (
    "password", "passwd", "passphrase", "DB_PASS", "PGPASSWORD", "MYSQL_PWD", "db.password", "dbPassword", "ADMIN_PASS",
    "spring.datasource.password", "secret", "CLIENT_SECRET", "clientSecret", "app.secret", "token", "ACCESS_TOKEN",
    "refreshToken", "auth_token", "_authToken", "apiKey", "API_KEY", "api-key", "X-Api-Key", "aws_secret_access_key",
    "AccountKey", "SharedAccessKey", "private_key", "encryption-key", "SIGNING_KEY", "credentials", "registry-creds",
    "COSIGN_PASSWORD", "SONAR_TOKEN", "NPM_TOKEN", "GPG_PASSPHRASE", "keystorePassword", "smtp_pass", "secret_id",
)  # fmt: skip


def _named(name: str, value: str) -> Iterator[tuple[str, ...]]:
    quoted = json.dumps(value)
    option = "--" + name.lstrip("_").replace("_", "-").replace(".", "-").lower()
    yield (f"{name}={value}",)
    yield ("tool", f"{option}={value}")
    yield ("tool", option, value)
    yield ("docker", "run", "-e", f"{name}={value}", "app")
    yield ("tool", json.dumps({name: value, "user": "robot"}))
    yield ("tool", json.dumps({"config": json.dumps({name: value})}))
    yield ("tool", f"{{{name}: {quoted}, user: robot}}")
    yield ("sh", "-c", f"export {name.replace('.', '_').replace('-', '_')}={quoted}\nmake all")
    yield ("sh", "-c", f"cat > conf <<EOF\n{name} = {quoted}\nuser = robot\nEOF")
    yield ("curl", "-H", f"{name}: {value}", "https://example.com")


def _by_program(value: str) -> Iterator[tuple[str, ...]]:
    yield ("docker", "login", "-u", "robot", "-p", value, "registry.example.com")
    yield ("podman", "login", "--username", "robot", "--password", value, "registry.example.com")
    yield ("helm", "registry", "login", "registry.example.com", "-u", "robot", "-p", value)
    yield ("tool", "-p", value)
    yield ("mysql", "-u", "root", f"-p{value}", "-h", "db", "app")
    yield ("sshpass", "-p", value, "ssh", "root@host")
    yield ("curl", "-u", f"robot:{value}", "https://example.com/x")
    yield ("curl", f"-urobot:{value}", "https://example.com/x")
    yield ("curl", "--user", f"robot:{value}", "https://example.com/x")
    yield ("curl", f"--proxy-user=robot:{value}", "https://example.com/x")
    yield ("skopeo", "copy", "--dest-creds", f"robot:{value}", "docker://a", "docker://b")
    yield ("redis-cli", "-a", value, "ping")
    yield ("unzip", "-P", value, "x.zip")
    yield ("ldapsearch", "-x", "-D", "cn=admin", "-w", value)
    yield ("openssl", "rsa", "-in", "a.pem", "-passin", f"pass:{value}")
    yield ("keytool", "-list", "-storepass", value)
    yield ("htpasswd", "-bB", "users", "robot", value)
    yield ("aws", "configure", "set", "aws_secret_access_key", value)
    yield ("npm", "config", "set", "//registry.example.com/:_authToken", value)
    yield ("sh", "-c", f"set -eu\ndocker login -u robot -p {value} registry.example.com && docker push app")
    yield ("sh", "-c", f"curl -fsSL -u robot:{value} https://example.com/x | sh")
    yield ("sh", "-c", f"docker login \\\n  --username robot \\\n  -p {value} \\\n  registry.example.com")
    yield ("sh", "-c", f"if true; then sudo mysql --user=root --password='{value}' -e 'select 1'; fi")
    yield ("sh", "-c", f"echo {value} | docker login -u robot --password-stdin registry.example.com")
    yield ("sh", "-c", f"printf '%s' \"{value}\" | oras login -u robot --password-stdin registry.example.com")
    yield ("login", "-u", "robot", "-p", value, "registry.example.com")
    yield ("-p", value)
    yield ("bash", "-ec", f"mysqldump -u root -p{value} app > /tmp/app.sql; echo done")


def _in_protocols(value: str) -> Iterator[tuple[str, ...]]:
    word = base64.b64encode(f"robot:{value}".encode()).decode()
    yield ("git", "clone", f"https://robot:{value}@git.example.com/team/app.git")
    yield ("git", "clone", f"https://{value}@git.example.com/team/app.git")
    yield ("psql", f"postgresql://app:{value}@db.example.com:5432/app?sslmode=require")
    yield ("tool", f"app:{value}@tcp(db:3306)/app")
    yield ("curl", "-H", f"Authorization: Bearer {value}", "https://example.com")
    yield ("curl", "-H", f"Authorization: Basic {word}", "https://example.com")
    yield ("curl", "-H", f"Cookie: session={value}", "https://example.com")
    yield ("curl", f"https://blob.example.com/c?sv=2024-01-01&sig={value}")
    yield ("sh", "-c", f"echo 'machine git.example.com login robot password {value}' > ~/.netrc")
    yield ("psql", "-c", f"CREATE USER app WITH PASSWORD '{value}'")
    yield ("sh", "-c", f"echo '<server><id>x</id><password>{value}</password></server>' > s.xml")


def _keys(rng: random.Random) -> Iterator[tuple[tuple[str, ...], str]]:
    for kind in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "ENCRYPTED SIGSTORE "):
        lines = ["".join(rng.choices(ALNUM + "+/", k=64)) for _ in range(6)]
        head, foot = f"-----BEGIN {kind}PRIVATE" + " KEY-----", f"-----END {kind}PRIVATE" + " KEY-----"
        pem = "\n".join([head, *lines, foot])
        secret = lines[0]
        yield ("tool", "--value", pem), secret
        yield ("tool", json.dumps({"value": pem})), secret
        yield ("sh", "-c", f"cat > k <<EOF\n{pem}\nEOF\ntool k"), secret
        if "SIGSTORE" not in kind:
            encoded = base64.b64encode(pem.encode()).decode()
            yield ("tool", "--value", encoded), encoded[80:160]


HARD = "no form and no name"


def _hard(rng: random.Random) -> Iterator[tuple[tuple[str, ...], str]]:
    """Secrets that no rule can recognise: passwords by position only, and keys without form or name."""
    for _ in range(5):
        word, key = "".join(rng.choices(ALNUM, k=14)), "".join(rng.choices(ALNUM + "+/", k=40))
        yield ("vault-helper", "unlock", word), word
        yield ("echo", key), key
        yield ("sh", "-c", f"P={word}; tool $P"), word
        yield (
            ("tool", base64.b64encode(f"robot:{word}".encode()).decode()),
            base64.b64encode(f"robot:{word}".encode()).decode(),
        )


def planted(seed: int = 11) -> list[Planted]:
    """Return about two thousand command lines with a secret; equal seeds give equal lines."""
    rng = random.Random(seed)
    found: list[Planted] = []
    for issuer, tokens in _tokens(rng).items():
        found += [Planted(f"form: {issuer}", words, token) for token in tokens for words in _around(token)]
    hooks = {
        "slack hook": f"https://hooks.slack.com/services/T{'A1B2C3D4E'}/B{'F5G6H7I8J'}/" + "{}",
        "discord hook": "https://discord.com/api/webhooks/" + "123456789012345678/" + "{}",
    }
    for kind, url in hooks.items():
        value = "".join(rng.choices(ALNUM, k=24))
        found += [Planted(f"form: {kind}", words, value) for words in _around(url.format(value))]
    found += [Planted("form: private key", words, secret) for words, secret in _keys(rng)]

    def password(alphabet: str, count: int) -> str:
        return rng.choice(ALNUM) + "".join(rng.choices(alphabet, k=count - 1))

    for name in NAMES:
        for value in (password(ALNUM, 12), password(PUNCTUATED, 24), password(string.ascii_lowercase, 6)):
            found += [Planted("name", words, value) for words in _named(name, value)]
    makers: list[tuple[str, Callable[[str], Iterator[tuple[str, ...]]]]] = [
        ("program", _by_program),
        ("protocol", _in_protocols),
    ]
    for kind, make in makers:
        for _ in range(6):
            value = password(ALNUM + "_-", 18)
            for words in make(value):
                text = " ".join(words)
                encoded = base64.b64encode(f"robot:{value}".encode()).decode()
                found.append(Planted(kind, words, encoded if encoded in text else value))
    found += [Planted(HARD, words, secret) for words, secret in _hard(rng)]
    return found


def ordinary(seed: int = 11) -> list[tuple[str, ...]]:
    """Return about six hundred command lines of ordinary builds, without a secret."""
    rng = random.Random(seed)

    def digits(alphabet: str, count: int) -> str:
        return "".join(rng.choices(alphabet, k=count))

    found: list[tuple[str, ...]] = []
    for _ in range(20):
        sha, commit, short = digits(HEX, 64), digits(HEX, 40), digits(HEX, 7)
        image = f"registry.example.com:5000/team/{rng.choice(['app', 'token-service', 'secret-operator'])}"
        png = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + rng.randbytes(180)).decode()
        moment = f"2026-0{rng.randrange(1, 10)}-1{rng.randrange(10)}T0{rng.randrange(10)}:04:05Z"
        one = str(uuid.UUID(int=rng.getrandbits(128)))
        sri = base64.b64encode(rng.randbytes(64)).decode()
        found += [
            ("echo", f"sha256:{sha}"), ("git", "checkout", commit), ("git", "show", short), ("echo", sha.upper()),
            ("crane", "copy", f"{image}:v1.2.3@sha256:{sha}", f"{image}:latest"), ("skopeo", "inspect", f"docker://{image}@sha256:{sha}"),
            ("kaniko", f"--destination={image}:{short}", "--context=dir:///workspace/src"), ("tool", one), ("tool", f"--run-id={one}"),
            ("tool", png), ("tool", f"data:image/png;base64,{png}"), ("tool", f"--date={moment}"), ("date", "-u", "-d", moment),
            ("sh", "-c", f"echo '{sha}  app.tar.gz' | sha256sum -c -"), ("npm", "view", f"pkg@1.2.3 sha512-{sri}"),
            ("curl", "-fsSLo", "/tmp/x", f"https://example.com/a/{commit}/x.tgz?ref={short}&expires={rng.randrange(10**9)}"),
            ("pip", "install", f"app==1.0.{rng.randrange(99)}", f"--hash=sha256:{sha}"), ("echo", f"pkg:oci/app@sha256%3A{sha}"),
            ("buildah", "bud", "--label", f"org.opencontainers.image.revision={commit}", "--timestamp", "0", "-t", f"{image}:{short}", "."),
        ]  # fmt: skip
    found += [tuple(line.split("|")) for line in _LINES.strip().splitlines()]
    return found


_LINES = """
mkdir|-p|/workspace/out
mkdir|-p|out
mkdir|-p|bin
install|-p|app
cp|-p|a|b
ssh|-p|2222|host.example.com
docker|run|-p|8080:80|app
docker|run|-p|127.0.0.1:8080:80/tcp|app
docker|run|-u|node:node|app
docker|run|--user|1000:1000|app
podman|run|-u|build:build|app
tool|-p|8080
tool|-p|$PORT
psql|-h|db|-p|5432|-U|app
redis-cli|-h|db|-p|6379|ping
kubectl|run|app|--image=app|-it
sh|-c|echo done | tee out.txt
sh|-c|echo "$PASSWORD" | docker login -u robot --password-stdin registry.example.com
sh|-c|cat /run/secrets/password | docker login -u robot --password-stdin registry.example.com
sh|-c|printf '%s\\n' done | grep -p done
vault|kv|get|-field=value|secret/data/app
tool|-p|./folder
tool|-p|8080:80
cargo|build|-p|my-crate
pytest|-p|no:cacheprovider|-q
go|test|-p|4|./...
kubectl|patch|deploy|app|-p|{"spec":{"replicas":2}}
tar|-xpf|a.tar
perl|-pe|s/a/b/
python|-u|main.py
python3|-m|pip|install|-r|requirements.txt
sort|-u|a.txt
set|-u
date|-u|+%FT%TZ
git|push|-u|origin|main
chown|1000:1000|/workspace
chown|-R|app:app|/workspace
sudo|-u|app|make
docker|login|-u|robot|--password-stdin|registry.example.com
oras|login|--password-stdin|registry.example.com
vault|login|-method=kubernetes|role=build
tool|--password-file|/run/secrets/db
tool|--password-file=/run/secrets/db
tool|--token-file=/var/run/token
tool|--token-path|/var/run/token
tool|--token-url=https://auth.example.com/token
tool|--token-type=bearer
tool|--token-ttl=1h
tool|--secret-name=registry
tool|--secret-namespace|team
tool|--auth-type=oidc
tool|--auth-mode|basic
tool|--auth-provider|github
tool|--api-key-file|keys/api.key
tool|--private-key|keys/signing.pem
tool|--signing-key=cosign.key
cosign|sign|--key|/keys/cosign.key|registry.example.com/app
cosign|sign|--key|k8s://tekton-chains/signing-secrets|registry.example.com/app
buildctl|build|--secret|id=npm,src=/run/secrets/npm
docker|build|--secret|id=npm,env=NPM_TOKEN|.
docker|build|--mount=type=secret,id=npm|.
docker|run|-e|PASSWORD|app
docker|run|-e|TOKEN=$TOKEN|app
docker|run|-e|TOKEN=${TOKEN}|app
sh|-c|docker login -u "$USER" -p "$PASSWORD" registry.example.com
sh|-c|curl -u "${USER}:${PASSWORD}" https://example.com
sh|-c|export TOKEN=$(cat /run/secrets/token); make
sh|-c|test -n "$TOKEN" || exit 1
sh|-c|PWD=/workspace make
sh|-c|OLDPWD=/workspace/src make
sh|-c|echo "token expired, log in again"
sh|-c|if [ -z "$API_KEY" ]; then echo missing; fi
sh|-c|set -euo pipefail; mkdir -p out && cp -p a out/
sh|-c|go build -ldflags "-X main.version=v1.2.3 -X main.commit=abcdef0" ./cmd/app
sh|-c|git config --global --add safe.directory /workspace
git|config|user.name|robot
git|config|user.email|robot@example.com
git|clone|ssh://git@github.com/team/app.git
git|clone|git@github.com:team/app.git
git|clone|https://github.com/team/app.git
git|log|--author=jane
tool|--author=jane
tool|author: jane
tool|--authority=https://login.example.com/tenant
tool|--tokenizer=bert-base
tool|--max-tokens=4096
tool|max_tokens: 4096
tool|--bypass=true
tool|--compass=north
tool|--cache-key=go-mod-v1
tool|--public-key=keys/cosign.pub
tool|--key=value
tool|key: value
tool|--primary-key=id
tool|{"name":"app","version":"1.2.3","key":"value"}
tool|{"secretName":"registry","tokenUrl":"https://auth.example.com"}
tool|{"password":null,"token":""}
tool|{"passwordPolicy":"strong"}
helm|upgrade|app|./chart|--set|image.tag=v1.2.3
helm|upgrade|app|./chart|--set|existingSecret.name=app
kubectl|create|secret|generic|app|--from-file=config.json
kubectl|get|secret|app|-o|yaml
kubectl|-n|external-secrets|get|pods
crane|digest|ghcr.io/external-secrets/external-secrets:v0.9.11
crane|digest|registry.example.com/team/token-server:latest
crane|digest|quay.io/team/password-manager:1.2.3
crane|ls|oci://registry.example.com/charts/vault-secrets
skopeo|copy|docker://alpine:3.20|oci:out:3.20
skopeo|copy|docker://alpine@sha256:0123456789abcdef|oci:out
pip|install|git+https://github.com/team/app.git@v1.2.3
npm|ci|--registry=https://npm.example.com
npm|config|set|cache|/tmp/npm
npm_config_cache=/tmp/npm
npm_lifecycle_event=build
yarn|install|--frozen-lockfile
mvn|-B|-pl|app|-am|verify
mvn|-Dmaven.test.skip=true|package
gradle|-p|app|build
gradle|build|-Pversion=1.2.3
dotnet|publish|-c|Release|-p:PublishSingleFile=true
msbuild|/p:Configuration=Release
terraform|plan|-var|region=eu-west-1
aws|s3|cp|a.txt|s3://bucket/a.txt
aws|configure|set|region|eu-west-1
gcloud|auth|activate-service-account|--key-file=/secrets/key.json
gcloud|config|set|project|my-project
az|acr|login|--name|registry
trivy|image|--format|json|registry.example.com/app:v1
grype|registry.example.com/app:v1|-o|json
syft|registry.example.com/app:v1|-o|spdx-json
tool|--tolerations|key=gpu:NoSchedule
tool|https://example.com/path?page=2&sort=asc
tool|https://example.com:8443/a/b#frag
tool|https://example.com/login?next=/home
tool|http://user@localhost.example.com|--flag
tool|postgresql://db.example.com:5432/app
tool|amqp://rabbit.example.com:5672/vhost
tool|2026-10-05T09:00:00.123456789Z
tool|v1.2.3-rc.1+build.5
tool|refs/heads/feature/token-refresh
tool|feature/password-reset
tool|src/auth/token_test.go
tool|internal/secrets/rotate.go
tool|com.example.security.TokenProvider
tool|TestTokenRefresh
tool|--run=TestPassword.*
tool|--filter=Category!=Secrets
tool|SECRET_NAME=registry
tool|TOKEN_FILE=/var/run/token
tool|PASSWORD_HASH_ALGORITHM=argon2
tool|COOKIE_DOMAIN_NAME=example.com
tool|AUTH_URL=https://auth.example.com
tool|SSH_AUTH_SOCK=/tmp/agent.sock
tool|DOCKER_CONFIG=/tekton/home/.docker
tool|GOOGLE_APPLICATION_CREDENTIALS=/secrets/key.json
tool|AWS_REGION=eu-west-1
tool|KUBECONFIG=/etc/kube/config
tool|--skip-labels=sk-learn-training-pipeline-image
tool|pypi-publish-action-for-releases
tool|key-value-store-service-name
tool|sk-toggleable__content-arrow
"""
