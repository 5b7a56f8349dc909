"""What the user chose, from where, and what is said when it can't be meant."""

import pytest

from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.settings import (
    Settings,
    load,
    multiprocess_directory,
    otel_environment,
    variables,
)


def test_defaults_need_nothing():
    assert load({}, {}) == Settings()


def test_an_argument_wins_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "llm.toml"
    file.write_text('agent = "file"\nnamespace = "file"\nspans = "never"\n')
    environment = {
        "OTEL_LLM_USAGE_CONFIG": str(file),
        "OTEL_LLM_USAGE_AGENT": "environment",
        "OTEL_LLM_USAGE_NAMESPACE": "environment",
    }
    settings = load({"agent": "argument"}, environment)
    assert (settings.agent, settings.namespace, settings.spans) == (
        "argument",
        "environment",
        "never",
    )


def test_an_empty_namespace_in_the_environment_is_a_choice():
    assert load({}, {"OTEL_LLM_USAGE_NAMESPACE": ""}).namespace == ""
    assert load({}, {"OTEL_LLM_USAGE_AGENT": ""}).agent == "unknown"


def test_price_files_are_found_beside_the_settings_file(tmp_path):
    file = tmp_path / "llm.toml"
    file.write_text('prices = ["contract.toml"]\n')
    assert load({}, {}, file).prices == (str(tmp_path / "contract.toml"),)
    file.write_text('prices = "contract.toml"\nprice_data = "data.json"\n')
    assert load({}, {}, file).prices == (str(tmp_path / "contract.toml"),)
    assert load({}, {}, file).price_data == str(tmp_path / "data.json")
    file.write_text("prices = 5\n")
    with pytest.raises(ConfigurationError, match="prices=5"):
        load({}, {}, file)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("METRICS_PORT", "9464", "metrics_port", 9464),
        ("METRIC_LABELS", "team, feature", "metric_labels", ("team", "feature")),
        ("EXEMPLARS", "off", "exemplars", False),
        ("GEN_AI_METRICS", "yes", "gen_ai_metrics", True),
        ("STREAM_USAGE", "never", "stream_usage", {"*": "never"}),
        ("STREAM_USAGE", "gateway:8080=always,api.x.ai=never", "stream_usage",
         {"gateway:8080": "always", "api.x.ai": "never"}),
        ("SDKS", "openai", "sdks", ("openai",)),
        ("HOSTS", "llm.corp.example = groq", "hosts", {"llm.corp.example": "groq"}),
        ("METRICS_PORT", "none", "metrics_port", None),
    ],
)  # fmt: skip
def test_the_environment_is_read_by_type(variable, text, name, value):
    assert getattr(load({}, {f"OTEL_LLM_USAGE_{variable}": text}), name) == value


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"colour": "red"}, "no setting 'colour'"),
        ({"spans": "sometimes"}, "auto, always, never"),
        ({"on_abort": "cry"}, "estimate, drain, ignore"),
        ({"sdks": ["cohere"]}, "google, openai, anthropic"),
        ({"metrics_port": "9464"}, "takes int"),
        ({"metrics_port": -1}, "negative"),
        ({"metrics_port": True}, "takes int"),
        ({"agent": 7}, "takes str"),
        ({"metric_labels": ["not a label"]}, "Prometheus label"),
        ({"namespace": "no-dashes"}, "Prometheus name"),
        ({"stream_usage": {"api.openai.com": "maybe"}}, "auto, always, never"),
        ({"stream_usage": "maybe"}, "auto, always, never"),
        ({"metrics_port": 65536}, "at most 65535"),
        ({"hosts": {"llm.corp.example": 5}}, "choose one of .*groq"),
        ({"hosts": {"llm.corp.example": "nonsense"}}, "choose one of .*groq"),
        ({"hosts": {"https://llm.corp.example/v1": "groq"}}, "no host"),
        ({"hosts": {"*": "groq"}}, "no host"),
        ({"hosts": {5: "groq"}}, "no host"),
        ({"metric_labels": ["größe"]}, "Prometheus label"),
        ({"metric_labels": ["team", "feature", "team"]}, "'team' is there twice"),
        ({"metric_labels": 5}, "a list of texts"),
        ({"metric_labels": [5]}, "a list of texts"),
        ({"namespace": "größe"}, "Prometheus name"),
        ({"agent": ""}, "say a name"),
        ({"max_label_values": 0}, "at least one value"),
        ({"metrics_token": ""}, "metrics_token is empty"),
        ({"metrics_token": "two words"}, "space or a control"),
        ({"metrics_token": "abc\n"}, "space or a control"),
        ({"metrics_token": "abc\x00"}, "space or a control"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_what_to_do(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        load(arguments, {})


def test_a_host_in_the_environment_needs_a_name():
    with pytest.raises(ConfigurationError, match="no host"):
        load({}, {"OTEL_LLM_USAGE_HOSTS": "groq"})


def test_one_word_about_stream_usage_means_every_host(tmp_path):
    file = tmp_path / "llm.toml"
    file.write_text('stream_usage = "never"\n')
    for settings in (load({"stream_usage": "never"}, {}), load({}, {}, file)):
        assert settings.stream_usage == {"*": "never"}


def test_a_misspelt_variable_is_a_warning_with_the_nearest_one(caplog):
    load({}, {"OTEL_LLM_USAGE_METRICS_PROT": "9464", "OTEL_LLM_USAGE_CONFIG": ""})
    (record,) = caplog.records
    assert "OTEL_LLM_USAGE_METRICS_PROT is no setting" in record.getMessage()
    assert "is it OTEL_LLM_USAGE_METRICS_PORT?" in record.getMessage()


def test_a_port_of_the_file_can_be_taken_back(tmp_path):
    file = tmp_path / "llm.toml"
    file.write_text("metrics_port = 9464\n")
    assert load({}, {"OTEL_LLM_USAGE_METRICS_PORT": "none"}, file).metrics_port is None


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_directory_for_several_processes_has_to_be_there(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"PROMETHEUS_MULTIPROC_DIR.* writable and empty"):
        multiprocess_directory({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / name)})
    assert multiprocess_directory({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) == tmp_path


@pytest.mark.parametrize(("variable", "text"), [("METRICS_PORT", "http"), ("EXEMPLARS", "maybe")])
def test_an_unreadable_variable_is_named(variable, text):
    with pytest.raises(ConfigurationError, match=f"OTEL_LLM_USAGE_{variable}"):
        load({}, {f"OTEL_LLM_USAGE_{variable}": text})


def test_a_broken_settings_file_is_named(tmp_path):
    file = tmp_path / "llm.toml"
    with pytest.raises(ConfigurationError, match=r"llm\.toml can't be read"):
        load({}, {}, file)
    file.write_text("agent = ")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load({}, {}, file)
    file.write_text("colour = 1")
    with pytest.raises(ConfigurationError, match=r"llm\.toml: there is no setting 'colour'"):
        load({}, {}, file)


def test_the_token_is_not_shown():
    assert "s3cret" not in repr(load({"metrics_token": "s3cret"}, {}))


def test_every_setting_has_a_variable_but_budgets_which_are_tables():
    assert {*variables(), "budgets"} == set(Settings.__slots__)


def test_only_otel_variables_that_say_something_are_handed_on():
    assert otel_environment({"OTEL_SERVICE_NAME": "x", "OTEL_EMPTY": "", "HOME": "/"}) == {
        "OTEL_SERVICE_NAME": "x"
    }


def test_an_address_with_a_password_is_not_shown():
    assert "secret" not in repr(load({"ledger": "postgresql://u:secret@host/db"}, {}))
