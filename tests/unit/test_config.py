"""A configuration is read whole, checked whole, and told of in the words of the file."""

import hashlib
import importlib.util
import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from lamplighter.config import ConfigErrors, Settings, diff, find, json_schema, load, parse, starter_yaml
from lamplighter.domain.endpoint import Creation, Policy, Remote, State
from lamplighter.domain.routing import BreakerPolicy, RetryPolicy
from lamplighter.errors import ConfigError


def read(text: str, **environ: str) -> Settings:
    return parse(dedent(text), "/etc/lamplighter/lamplighter.yaml", environ)


def problem(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)
    return raised.value.message.replace("/etc/lamplighter/lamplighter.yaml:", "line ")


def in_endpoint(line: str) -> str:
    return f"endpoints:\n  chat:\n    engine: llamacpp\n    {line}\n"


def test_the_starter_file_is_a_configuration_with_one_endpoint():
    settings = parse(starter_yaml(), "lamplighter.yaml", {})
    assert list(settings.specs()) == ["chat"]
    assert settings.specs()["chat"].engine.model == "SmolLM2-135M-Instruct"


def test_what_the_starter_file_shows_is_right_too():
    shown = "\n".join(
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and ":" in line else line
        for line in starter_yaml().splitlines()
        if not line.lstrip("# ").startswith(("The ", "A ", "Any ", "Holds ", "How ", "Who "))
    )
    settings = read(
        shown, LAMPLIGHTER_KEY="k", HF_TOKEN="t", EXAMPLE_KEY="k", ALARM_HOOK="https://h/", SLACK_URL="json://h"
    )
    assert settings.alarms.awake_longer_than == 12 * 3600
    assert set(settings.specs()) == {"chat", "coder", "mine", "far"}
    assert settings.groups == {"evals": ("chat", "coder")}
    assert (settings.server.max_body, settings.server.max_hold) == (64_000_000, 3600.0)
    assert settings.server == read("", LAMPLIGHTER_KEYS="k", LAMPLIGHTER_HOST="127.0.0.1").server
    assert settings.providers["local"].resources == {"gpu": 1, "memory_gb": 16}
    assert [target.name for target in settings.routes()["code"].targets] == ["coder", "router"]
    assert (settings.breaker, settings.retry) == (BreakerPolicy(), RetryPolicy())
    assert settings.specs()["mine"].engine.command == ("my-server", "--port", "{port}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{webhook: 'https://host/s3cret'}", "alarms.webhook: is not the place of an address. Whoever has the address"),
        ("{webhook: env:NO_URL}", "alarms.webhook: what env:NO_URL names is no http:// or https:// URL"),
        ("{urls: [env:GONE]}", "alarms.urls[0]: names the environment variable GONE, which is not set"),
        ("{urls: [file:gone.txt]}", "alarms.urls[0]: names the file"),
        ("{urls: env:HOOK}", "alarms.urls: should be a list"),
        ("{awake_longer_than: 0}", "alarms.awake_longer_than: 0 should be longer than nothing, or never"),
        ("{awake_longer_than: soon}", "alarms.awake_longer_than: 'soon'"),
        ("{repeat: 1h}", "alarms.repeat: unknown key; did you mean repeat_every?"),
    ],
)
def test_a_mistake_in_alarms_is_told_without_any_address(text, said):
    with pytest.raises(ConfigError) as caught:
        read(f"alarms: {text}", HOOK="https://host/s3cret", NO_URL="ftp://s3cret")
    assert said in caught.value.message
    assert "s3cret" not in caught.value.message


def test_what_holds_an_address_of_alarms_is_kept_from_engines_and_never_shown():
    settings = read("alarms: {webhook: env:HOOK, urls: [env:SLACK]}", HOOK="https://h/s3cret", SLACK="json://s3cret")
    assert {"HOOK", "SLACK"} <= settings.secret_variables
    assert "s3cret" not in repr(settings)


def test_alarms_to_services_need_their_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"alarms\.urls: need an extra .* pip install 'lamplighter\[alarms\]'"):
        read("alarms: {urls: [env:SLACK]}", SLACK="json://h")


def test_a_trusted_proxy_is_an_address_or_a_network():
    assert read("server: {trusted_proxies: [10.0.0.7, 10.1.0.0/16]}").server.trusted_proxies == (
        "10.0.0.7/32",
        "10.1.0.0/16",
    )
    with pytest.raises(ConfigError, match=r"trusted_proxies\[0\]: 'proxy' should be an address or a network"):
        read("server: {trusted_proxies: [proxy]}")


def test_an_empty_file_is_a_server_without_endpoints():
    for text in ("", "# nothing\n", "server:\nendpoints:\n", "providers: {local: }"):
        settings = read(text)
        assert settings.specs() == {}
        assert settings.server.port == 8470
        assert settings.providers["local"].type == "local"


def test_an_endpoint_gets_everything_it_was_given():
    spec = read(
        """
        endpoints:
          chat:
            engine: llamacpp
            model: M
            task: text-generation
            aliases: [org/M]
            replicas: 2
            resources: {memory_gb: 1}
            args: [--threads, 2, --flag]
            env: {A: "${TOKEN}", B: "$${X} 010", C: 5}
            headers: {Authorization: "Bearer ${TOKEN}"}
            cwd: work
            health_route: /ready
            start_timeout: 1h
            stop_grace: 0
        """,
        TOKEN="hush",
    ).specs()["chat"]
    assert spec.aliases == ("org/M",)
    assert spec.needs() == {"memory_gb": 2.0}
    assert spec.engine.args == ("--threads", "2", "--flag")
    assert dict(spec.engine.env) == {"A": "hush", "B": "${X} 010", "C": "5"}
    assert dict(spec.engine.headers) == {"Authorization": "Bearer hush"}
    assert spec.engine.cwd == "/etc/lamplighter/work"
    assert (spec.engine.health_route, spec.engine.start_timeout, spec.engine.stop_grace) == ("/ready", 3600.0, 0.0)


def test_a_command_may_be_one_text_and_is_an_engine():
    engine = read("endpoints: {a: {command: \"serve --name 'my model' --port {port}\"}}").specs()["a"].engine
    assert engine.engine == "command"
    assert engine.command == ("serve", "--name", "my model", "--port", "{port}")


def test_the_more_specific_policy_wins():
    text = """
        defaults: {idle_timeout: 10m, wake_timeout: 1m, max_waiting: 5}
        endpoints:
          plain: {engine: a}
          own: {engine: a, idle_timeout: never, max_waiting: 7}
        """
    specs = read(text, ENDPOINT_AUTO_SLEEP="60", ENDPOINT_WAKE_TIMEOUT="").specs()
    assert specs["plain"].policy == Policy(idle_timeout=60.0, wake_timeout=60.0, max_waiting=5)
    assert specs["own"].policy == Policy(idle_timeout=None, wake_timeout=60.0, max_waiting=7)


def test_a_replicas_concurrency_is_bounded_by_default_or_by_endpoint_and_null_lifts_the_bound():
    text = "defaults: {concurrency: 4}\nendpoints: {a: {engine: x}, b: {engine: x, concurrency: 1}, c: {engine: x, concurrency: null}}"
    specs = read(text).specs()
    assert [specs[name].policy.concurrency for name in "abc"] == [4, 1, None]
    with pytest.raises(ConfigError, match="concurrency"):
        read("endpoints: {a: {engine: x, concurrency: 0}}")


def test_the_built_in_policy_is_the_domains():
    assert read("endpoints: {a: {engine: b}}").specs()["a"].policy == Policy()


def test_the_environment_overrides_the_servers_settings():
    server = read(
        "server: {host: 10.0.0.1, port: 1, data: /x}",
        LAMPLIGHTER_HOST="0.0.0.0",
        LAMPLIGHTER_PORT="9000",
        LAMPLIGHTER_DATA="~/d",
        LAMPLIGHTER_KEYS="one, two",
        HOME="/home/me",
    ).server
    assert (server.host, server.port, server.data) == ("0.0.0.0", 9000, Path("/home/me/d"))
    assert server.keys == {hashlib.sha256(key).hexdigest() for key in (b"one", b"two")}


@pytest.mark.parametrize(
    ("environ", "data"),
    [
        ({"HOME": "/h"}, "/h/.local/state/lamplighter"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/lamplighter"),
        ({"XDG_STATE_HOME": "/s", "LAMPLIGHTER_DATA": "/d"}, "/d"),
    ],
)
def test_data_lies_where_the_system_keeps_state(environ, data):
    assert read("", **environ).server.data == Path(data)


def test_relative_paths_begin_at_the_files_folder(tmp_path):
    (tmp_path / "key").write_text("abc\n")
    (tmp_path / "lamplighter.yaml").write_text("server: {data: state, keys: ['file:key']}")
    server = load(tmp_path / "lamplighter.yaml", {}).server
    assert server.data == tmp_path / "state"
    assert server.keys == {hashlib.sha256(b"abc").hexdigest()}


def test_a_key_may_be_its_digest():
    assert read(f"server: {{keys: ['sha256:{'AB' * 32}']}}").server.keys == {"ab" * 32}


def test_no_secret_shows():
    settings = read(
        """
        server: {keys: ["env:KEY"]}
        endpoints: {a: {engine: b, env: {T: "${KEY}"}, headers: {H: "${KEY}"}}}
        """,
        KEY="hush-hush",
    )
    digest = hashlib.sha256(b"hush-hush").hexdigest()
    for shown in (repr(settings), repr(settings.specs())):
        assert "hush-hush" not in shown
        assert digest not in shown


def test_a_secret_in_the_wrong_place_does_not_show_in_the_error():
    told = problem("server: {keys: [hush-hush]}\nendpoints: {a: {engine: b, env: {X: [hush-hush]}}}")
    assert "env:NAME" in told
    assert "hush" not in told


def test_words_that_old_yaml_turned_into_values_stay_words():
    spec = read("endpoints: {120b: {engine: on, model: 'no', task: 1:30, args: [010, yes]}}").specs()["120b"]
    assert (spec.engine.engine, spec.task, spec.engine.args) == ("on", "1:30", ("010", "yes"))


def test_anchors_and_merges_work():
    specs = read(
        """
        endpoints:
          a: &base {engine: x, wake_timeout: 1m, replicas: 2}
          b:
            <<: *base
            replicas: 3
        """
    ).specs()
    assert (specs["b"].engine.engine, specs["b"].replicas, specs["a"].replicas) == ("x", 3, 2)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("idle_timout: 1", "endpoints.chat.idle_timout: unknown key; did you mean idle_timeout?"),
        ("idle_timeout: soon", "idle_timeout: 'soon' should be a number of seconds, or a duration such as 90s"),
        ("idle_timeout: 0", "idle_timeout: 0 could mean two things: write never"),
        ("wake_timeout: never", "wake_timeout: 'never' should be a number of seconds"),
        ("wake_timeout: 0", "wake_timeout: 0.0 should be greater than 0"),
        ("min_awake:", "min_awake: an empty value should be"),
        ("replicas: two", "replicas: 'two' should be a whole number"),
        ("replicas: 0", "replicas: 0 should be greater than or equal to 1"),
        ("keep_warm: maybe", "keep_warm: 'maybe' should be true or false"),
        ("model: 7", "model: 7 should be text; put it in quotes"),
        ("aliases: one", "aliases: 'one' should be a list"),
        ("aliases: [two words]", "aliases[0]: 'two words' should be a name of letters"),
        ("resources: {gpu: many}", "resources.gpu: 'many' should be a number"),
        ("resources: {gpu: .nan}", "resources.gpu: '.nan' should be a number"),
        ("resources: [gpu]", "resources: ['gpu'] should be a mapping of keys to values"),
        ('command: "a \'b"', "can't be split into words as a shell would: no closing quotation"),
        ("args: {a: 1}", "args: should be a list of words"),
        ("env: {A: true}", "env.A: should be text; put it in quotes"),
        ("env: {A: '${NOPE}'}", "env.A: names the environment variable NOPE, which is not set"),
        ("health_route: ready", "health_route: 'ready' should begin with a slash"),
        ("provider: locl", "provider: there is no provider 'locl'; did you mean local?"),
        ("engine: other", "engine: stands here a second time; the first is in line 3"),
    ],
)
def test_an_error_names_line_key_value_and_what_is_right(line, told):
    text = problem(in_endpoint(line))
    assert text.startswith("line 4: endpoints.chat.")
    assert told in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "foo: 1",
            "line 1: foo: unknown key; known are alarms, breaker, budgets, defaults, endpoints, groups, ledger, prices, providers,",
        ),
        ("- a\n- b", "line 1: should be a mapping of keys to values"),
        ("endpoints: []", "line 1: endpoints: [] should be a mapping"),
        ("endpoints:\n  chat: [", "line 2: this is not YAML: "),
        ("a: *b", "line 1: this is not YAML: found undefined alias 'b'"),
        ("endpoints: &a\n  x: *a", "line 1: this is not YAML: an alias refers to what it stands in"),
        ("endpoints: {Chat: {engine: a}}", "endpoints.Chat: 'Chat' should be a name of at most 63 lower-case"),
        ("endpoints:\n  chat: {model: a}", "line 2: endpoints.chat: needs an `engine`, such as llamacpp, or a"),
        ("endpoints:\n  chat:", "line 2: endpoints.chat: an empty value should be a mapping"),
        ("server:\n  port: 70000", "line 2: server.port: 70000 should be less than or equal to 65535"),
        ("server: {on_shutdown: kill}", "server.on_shutdown: 'kill' should be 'stop' or 'leave'"),
        ("server: {max_body: big}", "server.max_body: 'big' should be a number of bytes, or a size such as 64MB"),
        ("server: {keys: ['env:NOPE']}", "server.keys[0]: names the environment variable NOPE, which is not set"),
        ("server: {keys: ['file:/nope']}", "names the file /nope, which can't be read"),
        ("server: {host: 0.0.0.0}", "server.host: '0.0.0.0' would let everybody in who can reach this machine. Give"),
        ("server: {host: '::'}", "LAMPLIGHTER_KEYS, or listen on 127.0.0.1"),
        ("x: \x07", "this is not YAML"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)
def test_an_error_elsewhere_in_the_file_is_told_as_clearly(text, told):
    assert told in problem(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_no_key(host):
    assert read(f"server: {{host: '{host}'}}").server.keys == frozenset()


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("aliases: [chat]", "endpoints.b.aliases[0]: 'chat' is taken by endpoints.chat"),
        ("aliases: [M, M]", "endpoints.b.aliases[1]: 'M' is taken by endpoints.b.aliases[0]"),
        ("aliases: [org/m]", "endpoints.b.aliases[0]: 'org/m' is taken by endpoints.chat.aliases[0]"),
    ],
)
def test_each_name_leads_to_one_endpoint(second, told):
    assert told in problem(f"endpoints:\n  chat: {{engine: a, aliases: [org/m]}}\n  b: {{engine: a, {second}}}")


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ("{gpus: 1}", "gpus: the provider 'big' has no such resource; did you mean gpu?"),
        ("{gpu: 2}", "gpu: 2 are needed, and 'big' has 1 in all"),
        ("{gpu: 0.6}, replicas: 2", "gpu: 1.2 are needed for 2 replicas, and 'big' has 1 in all"),
    ],
)
def test_what_can_never_fit_is_refused(wish, told):
    text = "providers: {big: {type: memory, resources: {gpu: 1}}}\nendpoints: {a: {engine: a, provider: big, resources: %s}}"
    assert told in problem(text % wish)


def test_all_problems_are_told_at_once_in_the_order_of_their_lines():
    with pytest.raises(ConfigErrors) as raised:
        read(
            """
            server: {host: 0.0.0.0}
            endpoints:
              a: {engine: a, replicas: x}
              b: {engine: a, provider: nope}
              b: {engine: a, aliases: [a b], provider: nope}
              c: {engine: a, provider: nope}
            """,
            ENDPOINT_WAKE_TIMEOUT="long",
        )
    errors = raised.value.errors
    assert [error.line for error in errors] == [2, 4, 6, 6, 7, None]
    assert errors[-1].source == "environment variable ENDPOINT_WAKE_TIMEOUT"
    assert raised.value.exit_code == 2
    assert raised.value.message.startswith("The configuration has 6 problems:\n  /etc/lamplighter/lamplighter.yaml:2: ")


def test_a_broken_provider_is_not_blamed_on_those_who_refer_to_it():
    text = problem("providers: {x: {resources: 3}}\nendpoints: {a: {engine: b, provider: x, resources: {gpu: 1}}}")
    assert "providers.x.resources" in text
    assert "endpoints" not in text


def test_aliases_of_aliases_have_a_bound():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in problem("\n".join(lines))


def test_the_file_is_looked_for_where_people_put_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match="lamplighter init"):
        find(environ)
    user = tmp_path / "config" / "lamplighter" / "lamplighter.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("server: {port: 1}")
    assert load(environ=environ).server.port == 1
    Path("lamplighter.yaml").write_text("server: {port: 2}")
    assert load(environ=environ).server.port == 2
    (tmp_path / "named.yaml").write_text("server: {port: 3}")
    assert load(environ=environ | {"LAMPLIGHTER_CONFIG": str(tmp_path / "named.yaml")}).server.port == 3


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    for name, told in (("nope.yaml", "No such file"), ("latin.yaml", "not UTF-8"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=told):
            load(tmp_path / name, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server: {port: '8470'}", "server.port: '8470' should be a whole number"),
        ("server: {tracing: 1}", "server.tracing: 1 should be true or false"),
        ("defaults: {keep_warm: yes}", "defaults.keep_warm: 'yes' should be true or false"),
        ("defaults: {concurrency: '4'}", "defaults.concurrency: '4' should be a whole number"),
        ("endpoints: {a: {engine: x, replicas: true}}", "endpoints.a.replicas: true should be a whole number"),
        ("endpoints: {a: {engine: x, resources: {gpu: '1'}}}", "resources.gpu: '1' should be a number"),
        ("providers: {local: {resources: {gpu: true}}}", "resources.gpu: true should be a number"),
    ],
)
def test_a_value_has_the_type_that_is_documented(text, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        read(text)


def test_a_port_in_the_environment_is_text_as_all_is_there():
    assert read("", LAMPLIGHTER_PORT="9000").server.port == 9000
    with pytest.raises(ConfigError, match=r"server\.port: 'many' should be a whole number"):
        read("", LAMPLIGHTER_PORT="many")


def test_a_reload_finds_what_changed():
    old = read(
        "defaults: {idle_timeout: 1m}\nendpoints: {a: {engine: x}, b: {engine: x, idle_timeout: 2m}, c: {engine: x}}"
    )
    new = read(
        """
        server: {port: 1, max_body: 1MB, drain_timeout: 1s}
        defaults: {idle_timeout: 3m}
        providers: {local: {resources: {gpu: 1}}}
        endpoints: {d: {engine: x}, b: {engine: x, idle_timeout: 2m}, a: {engine: x}}
        """
    )
    changes = diff(old, new)
    assert (changes.added, changes.removed, changes.changed) == (("d",), ("c",), ("a",))
    assert changes.restart == ("server.port", "server.max_body", "providers.local")
    assert changes
    assert not diff(new, new)


def test_the_schema_describes_every_key():
    schema = json_schema()
    for shape in (schema, *schema["$defs"].values()):
        for key, value in shape["properties"].items():
            assert value.get("description"), key
    assert yaml.safe_load(yaml.safe_dump(schema)) == schema


def elsewhere(line: str = "") -> str:
    return f"endpoints:\n  chat:\n    provider: huggingface\n    {line}\n"


def test_an_endpoint_elsewhere_needs_no_engine():
    settings = read(elsewhere())
    spec = settings.specs()["chat"]
    assert spec.remote == Remote()
    assert spec.deployment is None
    assert settings.providers["huggingface"].type == "huggingface"
    assert "huggingface" not in read(in_endpoint("")).providers


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("big", Remote(name="big")),
        ("My-Org/big-one", Remote(namespace="My-Org", name="big-one")),
        ("https://endpoints.huggingface.co/me/endpoints/big", Remote(namespace="me", name="big")),
        ("https://endpoints.huggingface.co/me/endpoints/big/", Remote(namespace="me", name="big")),
        ("https://endpoints.huggingface.co/me/endpoints/big/analytics?x=1", Remote(namespace="me", name="big")),
        ("https://ui.endpoints.huggingface.co/me/endpoints/big", Remote(namespace="me", name="big")),
        (
            "https://a1.us-east-1.aws.endpoints.huggingface.cloud/v1/",
            Remote(url="https://a1.us-east-1.aws.endpoints.huggingface.cloud"),
        ),
        ("http://127.0.0.1:8470/endpoints/big", Remote(url="http://127.0.0.1:8470/endpoints/big")),
    ],
)
def test_a_remote_endpoint_is_named_in_any_way_that_people_have_at_hand(value, place):
    assert read(elsewhere(f"remote: '{value}'")).specs()["chat"].remote == place
    if "://" in value:
        settings = parse("", "the environment", {"HF_BASE_URL_BIG": value})
        assert settings.specs()["big"].remote == place


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("remote: a/b/c", "remote: 'a/b/c' should be namespace/name, a name, the console's URL (https://endpoints."),
        ("remote: Big", "remote: 'Big' should be namespace/name"),
        ("remote: 7", "remote: 7 should be namespace/name"),
        ("remote: https://endpoints.huggingface.co/me", "is no endpoint's page: should be the console's URL"),
        ("remote: https://huggingface.co/me/big", "is no endpoint: should be the console's URL"),
        ("remote: https://router.huggingface.co/v1", "is no endpoint: should be the console's URL"),
        ("remote: ftp://a1.endpoints.huggingface.cloud", "is not a URL: should be the console's URL"),
        ("remote: 'https://a b'", "is not a URL"),
        ("remote: https://a1.cloud:99999", "is not a URL"),
        ("remote: https://a1.cloud/?x=1", "has a part behind its path"),
        ("remote: https://me:hush-hush@a1.cloud", "must not hold a user or a password"),
        (
            "engine: llamacpp",
            "engine: is for engines that run here; what runs at 'huggingface' is said by `deployment`",
        ),
        ("replicas: 2", "replicas: is for engines that run here"),
        ("create: always", "create: 'always' should be 'never' or 'if-missing'"),
        ("create: if-missing", "create: needs a `deployment` that says what to make"),
        ("deployment: {}", "deployment: makes nothing without `create: if-missing`"),
        ("deployment: [a]", "deployment: should be a mapping of keys to values"),
        ("deployment: {secrets: {A: '${NOPE}'}}", "secrets: names the environment variable NOPE, which is not set"),
        ("sleep: deeply", "sleep: 'deeply' should be 'scale-to-zero' or 'pause'"),
        ("slept_by: me", "slept_by: 'me' should be 'lamplighter' or 'provider'"),
    ],
)
def test_an_error_in_an_endpoint_elsewhere_names_line_key_and_what_is_right(line, told):
    text = problem(elsewhere(line))
    assert text.startswith("line 4: endpoints.chat.")
    assert told in text
    assert "hush" not in text


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("remote: me/big", "remote: is for endpoints at a provider elsewhere; 'local' is of type local. Did you"),
        ("create: if-missing", "create: is for endpoints at a provider elsewhere"),
        ("slept_by: provider", "slept_by: a provider of type local puts nothing to sleep by itself"),
    ],
)
def test_what_is_for_elsewhere_is_refused_here(lines, told):
    assert told in problem(in_endpoint(lines))


def test_two_endpoints_that_are_one_are_refused():
    text = "endpoints:\n  a: {provider: huggingface, remote: me/x}\n  b: {provider: huggingface, remote: me/x}"
    assert "line 3: endpoints.b.remote: is the same endpoint as endpoints.a; give that an alias" in problem(text)
    text = "endpoints:\n  a: {provider: huggingface}\n  b: {provider: huggingface, remote: a}"
    assert "line 3: endpoints.b.remote: is the same endpoint as endpoints.a" in problem(text)


def test_how_an_endpoint_sleeps_is_said_by_it_or_for_all():
    specs = read(
        """
        defaults: {sleep: pause, slept_by: provider, wake_paused: false}
        endpoints:
          far: {provider: huggingface}
          own: {provider: huggingface, sleep: scale-to-zero, slept_by: lamplighter, wake_paused: true}
          here: {engine: llamacpp}
        """
    ).specs()
    assert specs["far"].policy == Policy(sleep_into=State.PAUSED, slept_by_provider=True, wake_paused=False)
    assert specs["own"].policy == Policy()
    assert not specs["here"].policy.slept_by_provider


@pytest.mark.parametrize("timeout", ["14m", "3d"])
def test_the_providers_own_timer_has_bounds(timeout):
    assert "after 15m to 48h" in problem(
        elsewhere(f"{{}}\n    slept_by: provider\n    idle_timeout: {timeout}").replace("{}", "task: x")
    )
    assert read(elsewhere("slept_by: provider\n    idle_timeout: never")).specs()["chat"].policy.slept_by_provider


def test_groups_name_endpoints():
    text = "endpoints: {a: {engine: x}, b: {engine: x}}\ngroups:\n  both: [a, b]\n"
    assert read(text).groups == {"both": ("a", "b")}
    assert "line 3: groups.both[1]: there is no endpoint 'bb'; did you mean b?" in problem(
        text.replace("a, b", "a, bb")
    )
    assert "line 3: groups.both: names no endpoint" in problem(text.replace("a, b", ""))
    assert "groups.both: 'a' should be a list" in problem(text.replace("[a, b]", "a"))
    assert "groups.Both" in problem(text.replace("both", "Both"))
    assert read("groups:").groups == {}
    assert diff(read(text), read(text.replace("a, b", "a"))).groups == ("both",)


def test_a_server_has_a_namespace():
    assert read("").server.namespace == "lamplighter"
    assert read("server: {namespace: My-Org}").server.namespace == "My-Org"
    assert "server.namespace: 'a/b' should be a name" in problem("server: {namespace: a/b}")
    assert diff(read(""), read("server: {namespace: me}")).restart == ("server.namespace",)


def test_the_environment_alone_is_a_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = "https://endpoints.huggingface.co/me/endpoints/gpt-120b"
    environ = {
        "HOME": str(tmp_path),
        "HF_BASE_URL_120B": console,
        "HF_BASE_URL_MY_20B": "https://x.cloud",
        "HF_BASE_URL_NO": "",
    }
    assert find(environ) is None
    settings = load(environ=environ | {"ENDPOINT_AUTO_SLEEP": "600"})
    assert list(settings.specs()) == ["120b", "my-20b"]
    spec = settings.specs()["120b"]
    assert (spec.provider, spec.remote, spec.policy.idle_timeout) == (
        "huggingface",
        Remote(namespace="me", name="gpt-120b"),
        600.0,
    )
    assert settings.server.data == tmp_path / ".local/state/lamplighter"
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nope.yaml", environ)
    with pytest.raises(ConfigError, match="No such file"):
        load(environ=environ | {"LAMPLIGHTER_CONFIG": str(tmp_path / "nope.yaml")})
    with pytest.raises(ConfigError, match="HF_BASE_URL_<NAME>"):
        find({"HOME": str(tmp_path), "HF_BASE_URL_NO": "", "HF_BASE_URL": console})


def test_the_environment_adds_to_a_file_and_the_file_wins():
    url = "https://endpoints.huggingface.co/me/endpoints/big"
    text = "endpoints: {a: {engine: x, aliases: [c]}}"
    settings = read(text, HF_BASE_URL_A=url, HF_BASE_URL_B=url, HF_BASE_URL_C=url, HF_BASE_URL_b=url)
    assert list(settings.specs()) == ["a", "b"]
    assert settings.specs()["a"].engine.engine == "x"
    assert settings.warnings == (
        "HF_BASE_URL_A does not count: 'a' stands in /etc/lamplighter/lamplighter.yaml.",
        "HF_BASE_URL_C does not count: 'c' stands in /etc/lamplighter/lamplighter.yaml.",
        "HF_BASE_URL_b does not count: 'b' stands in HF_BASE_URL_B.",
    )


@pytest.mark.parametrize(
    "value", ["hf_hushhush", "me/hush", "https://endpoints.huggingface.co/hush", "https://u:hush@x.cloud"]
)
def test_an_ill_formed_variable_is_named_with_the_form_that_is_right_and_not_repeated(value):
    told = problem("", HF_BASE_URL_BIG=value)
    assert told.startswith("environment variable HF_BASE_URL_BIG: the value ")
    assert "https://endpoints.huggingface.co/{namespace}/endpoints/{name}" in told
    assert "hush" not in told
    assert "HF_BASE_URL_<NAME> should end in a name" in problem("", HF_BASE_URL_="https://x.cloud")


def test_a_change_of_where_an_endpoint_is_is_found_by_a_reload():
    for line in ("remote: me/x", "sleep: pause", "slept_by: provider", "wake_paused: false"):
        assert diff(read(elsewhere()), read(elsewhere(line))).changed == ("chat",)


def test_the_options_of_a_provider_elsewhere_are_checked_with_the_file(tmp_path):
    text = "providers:\n  huggingface:\n    options:\n      token: hf_hush\n      look_every: 1\n"
    told = problem(text)
    assert told.startswith("line 4: providers.huggingface.options.token: is not a token's place.")
    assert "hush" not in told
    told = problem(text.replace("hf_hush", "env:HF_TOKEN"))
    assert told == "line 5: providers.huggingface.options.look_every: 1 should be a number of seconds, at least 5"
    (tmp_path / "lamplighter.yaml").write_text("providers: {hf: {type: huggingface, options: {token: 'file:secret'}}}")
    with pytest.raises(
        ConfigError, match=r"providers\.hf\.options\.token: names the file .*/secret, which can't be read"
    ):
        load(tmp_path / "lamplighter.yaml", {})
    (tmp_path / "secret").write_text("hf_x")
    options = load(tmp_path / "lamplighter.yaml", {}).providers["hf"].options
    assert options == {"token": f"file:{tmp_path}/secret"}


MAKING = """
endpoints:
  big:
    provider: huggingface
    remote: my-org/gpt
    create: if-missing
    deployment:
      repository: org/model
      vendor: aws
      region: us-east-1
      accelerator: gpu
      instance_type: nvidia-l4
      instance_size: x1
      image: {vLLM: {url: "vllm/vllm-openai:v1"}}
      secrets: {HF_TOKEN: "${TOKEN}"}
"""


def test_what_is_to_be_made_is_checked_and_kept_with_its_secrets_apart():
    spec = read(MAKING, TOKEN="hush-hush").specs()["big"]
    assert spec.deployment is not None
    assert spec.remote == Remote(namespace="my-org", name="gpt", create=Creation.IF_MISSING)
    assert not spec.deployed
    assert spec.deployment.document["name"] == "gpt"
    assert spec.deployment.document["compute"]["instanceType"] == "nvidia-l4"
    assert "secrets" not in spec.deployment.document["model"]
    assert dict(spec.deployment.secrets) == {"HF_TOKEN": "hush-hush"}
    assert "hush" not in repr(read(MAKING, TOKEN="hush-hush"))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("instance_size: x1", "instanc_size: x1", "line 13: endpoints.big.deployment.instanc_size: "),
        ("vendor: aws", "", "line 7: endpoints.big.deployment.vendor: missing"),
        ("accelerator: gpu", "accelerator: tpu", "line 11: endpoints.big.deployment.accelerator: "),
        (
            "region: us-east-1",
            "name: x",
            "line 10: endpoints.big.deployment.name: is the endpoint's own; give `remote`",
        ),
        ("remote: my-org/gpt", "remote: https://x.cloud", "create: needs an endpoint that is named"),
        ("remote: my-org/gpt", f"remote: {'x' * 40}", "is no name for an endpoint"),
    ],
)
def test_an_error_in_what_is_to_be_made_names_line_and_key(before, after, told):
    assert told in problem(MAKING.replace(before, after), TOKEN="t")


def test_the_variables_that_hold_secrets_are_known_so_that_engines_do_not_get_them(tmp_path: Path) -> None:
    text = """
server: {keys: [env:MY_KEY]}
providers:
  huggingface: {options: {token: env:MY_TOKEN}}
endpoints:
  mine: {command: run, env: {A: "env:HARMLESS"}}
"""
    settings = parse(
        text, str(tmp_path / "lamplighter.yaml"), {"MY_KEY": "k", "MY_TOKEN": "hf_x", "HOME": str(tmp_path)}
    )
    assert settings.secret_variables == {"MY_KEY", "MY_TOKEN"}


@pytest.mark.parametrize("kind", ["secret:", "env:", ""])
def test_a_token_in_the_place_of_a_name_is_not_shown(kind):
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
    text = f"upstreams: {{u: {{base_url: http://h/v1, key: '{kind}{token}', headers: {{X-A: '${{{token}}}'}}}}}}"
    said = problem(text)
    assert "token itself" in said
    assert token not in said


def test_an_address_with_a_password_is_not_shown_under_any_key():
    said = problem("prices: {router_url: 'http://user:hunter2secret@h/v1'}")
    assert "prices.router_url: must not hold a user or a password" in said
    assert "hunter2" not in said
