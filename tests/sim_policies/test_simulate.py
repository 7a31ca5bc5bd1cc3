"""`kubectl gptoss simulate` answers what a policy would have cost, and says what is wrong with a question."""

import json
from pathlib import Path

import pytest

from gptoss_operator.cli.kubectl_gptoss import main


SPEC = """
apiVersion: gptoss.dev/v1alpha1
kind: GptOssDeployment
metadata: {name: chat}
spec:
  model: {name: gpt-oss-120b}
  scaling: {minReplicas: 1, maxReplicas: 4}
  spot: {enabled: true}
"""
PRICES = """
  prices:
    - {capacityType: OnDemand, gpuHour: "4.00"}
    - {capacityType: Spot, gpuHour: "1.60"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(SPEC + PRICES)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "requests.csv"
    rows = [f"2024-01-01 00:{second // 60:02}:{second % 60:02},300,100" for second in range(0, 1800, 2)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return path


def test_tells_what_a_policy_would_have_cost_on_a_log(
    spec: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--deployment", str(spec), "--requests", str(log), "--market", "none", "--baselines", "static", "keda"]
    assert main(["simulate", *arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "SIMULATED, of recorded market and traffic" in printed.out
    assert "Costs are not compared: that takes 10 seeds at least" in printed.out
    assert "cheaper" not in printed.out
    assert "1/5, " in printed.err, "a person sees how far it is"
    document = json.loads((out / "results.json").read_text())
    assert document["simulated"] is True
    yours = document["results"][0]
    assert (yours["policy"], yours["requests"]) == ("yours", 900)
    assert yours["cost"] == pytest.approx(4.0 * yours["on_demand_hours"] + 1.6 * yours["spot_hours"])
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "http://www.w3.org" in page
    assert "src=" not in page, "nothing is loaded from elsewhere"


def test_figures_of_made_up_markets_say_so(spec: Path, log: Path, tmp_path: Path) -> None:
    arguments = ["--deployment", str(spec), "--requests", str(log), "--market", "harsh", "--baselines"]
    assert main(["simulate", *arguments, "--out", str(tmp_path)]) == 0
    pictures = list(tmp_path.glob("*.svg"))
    assert len(pictures) == 2
    assert all("SYNTHETIC" in picture.read_text() for picture in pictures)


def test_ten_seeds_are_compared(spec: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--deployment", str(spec), "--requests", str(log), "--hours", "0.1", "--seeds", "10"]
    assert main(["simulate", *arguments, "--baselines", "static", "--out", str(tmp_path)]) == 0
    assert "95 % interval over 10 seeds" in capsys.readouterr().out


def test_without_prices_costs_are_in_hours_of_a_replica(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(SPEC)
    arguments = ["--deployment", str(path), "--requests", str(log), "--baselines", "--out", str(tmp_path)]
    assert main(["simulate", *arguments]) == 0
    assert "costs are in hours of one on-demand replica, and spot is ASSUMED at 0.4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--deployment", "nowhere.yaml"], "--deployment nowhere.yaml cannot be read"),
        (["--deployment", "{log}"], "holds no GptOssDeployment: give the YAML of one object"),
        (["--deployment", "{spec}", "--requests", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["--deployment", "{spec}", "--requests", "{spec}"], "is of no log that is known: give its format"),
        (["--deployment", "{spec}", "--market", "mild"], "--market mild is no file: give one, or calm, medium, harsh"),
        (["--deployment", "{spec}", "--market", "{log}"], "cannot be read as JSON"),
        (["--deployment", "{spec}", "--format", "azure"], "--format is given without --requests: give the log"),
        (["--deployment", "{spec}", "--hours", "-1"], "--hours is -1.0: give a number above 0"),
        (["--deployment", "{spec}", "--seeds", "0"], "--seeds is 0: give 1 or more"),
        (["--deployment", "{spec}", "--peak", "0"], "--peak is 0.0: give requests per second above 0"),
        (["--deployment", "{spec}", "--replica", "gpt-2"], "there is no replica model gpt-2: take one of"),
    ],
)
def test_errors_name_the_option_and_the_remedy(
    arguments: list[str], message: str, spec: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [one.format(spec=spec, log=log) for one in arguments]
    assert main(["simulate", *given]) == 1
    assert message in capsys.readouterr().err
