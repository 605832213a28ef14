"""Carrying a deployment out: its stages one after the other under its lease, and its end."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from relman_client.cli import exits
from relman_client.cli.failures import sentence
from relman_client.cli.job import Job
from relman_client.cli.patience import patiently
from relman_client.cli.pipeline import Step
from relman_client.cli.process import Reins, heeding
from relman_client.cli.session import Session
from relman_client.cli.starting import ended
from relman_client.cli.text import exact, note
from relman_client.errors import RelmanError
from relman_client.leases import LeaseKeeper
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.stage_pb2 import (
    CompleteStageRequest,
    CreateStageRequest,
    PipelineStage,
    RetryStageRequest,
    StageStatus,
    StartStageRequest,
)
from relman_client.watch import FINAL

PASSED = frozenset({StageStatus.STAGE_STATUS_SUCCEEDED, StageStatus.STAGE_STATUS_SKIPPED})
UNSUCCESSFUL = frozenset({StageStatus.STAGE_STATUS_FAILED, StageStatus.STAGE_STATUS_TIMED_OUT})
_HASTE = 10.0  # seconds to report an end that nobody wants to wait for
_VERDICT = 5.0  # seconds within which the server ends a deployment whose stage is overdue, with some to spare


class PipelineRun:
    """A deployment in progress, from its first stage to its reported end.

    What stops it before its time is remembered, the first of a kind: a signal, the loss of the lease, a stage that is
    overdue. Each ends the command that runs; what follows is decided when it has ended.
    """

    def __init__(
        self,
        session: Session,
        started: pb.StartDeploymentResponse,
        *,
        quiet: bool,
        impacted: bool,
        patience: float,
    ) -> None:
        self._session = session
        self._deployment = started.deployment
        self._lease = started.lease
        self._quiet = quiet
        self._impacted = impacted
        self._patience = patience
        self._reins: Reins | None = None
        self._signal = 0
        self._refusal: RelmanError | None = None
        """What says that the deployment is not ours any more."""
        self._is_overdue = False
        self._is_over = False

    def carry_out(self, steps: Sequence[Step]) -> int:
        """Run the stages and complete the deployment; answers the exit status."""
        client = self._session.client
        with (
            LeaseKeeper(client, self._deployment.id, self._lease, on_lost=self._lose),
            heeding(self._heed),
        ):
            try:
                status = self._end(self._run_stages(steps))
            except KeyboardInterrupt:
                note("relman: interrupted again; relman may not know how the deployment ended")
                status = exits.OTHER
        return 128 + self._signal if self._signal else status

    def _run_stages(self, steps: Sequence[Step]) -> str:
        """Run one after the other; answers why the deployment failed, nothing when it did not."""
        try:
            stages = self._stages_of(steps)
            for step in steps:
                if self._is_stopped:
                    break
                if stages[step.name].status in PASSED:
                    note(f"relman: stage {step.name} is passed over: it was skipped, or done before")
                    continue
                failure = self._run_stage(step, stages[step.name])
                if failure:
                    return failure
        except RelmanError as error:
            return sentence(error)
        return self._interruption

    def _stages_of(self, steps: Sequence[Step]) -> dict[str, PipelineStage]:
        """The deployment's stages by name, after creating those it lacks."""
        client = self._session.client
        asked = pb.GetDeploymentStagesRequest(deployment=self._deployment.id)
        answer = patiently(client.deployments.GetDeploymentStages, asked, self._deadline)
        stages = {stage.name: stage for stage in answer.stages}
        for step in steps:
            if step.name not in stages:
                request = CreateStageRequest(
                    deployment=self._deployment.id, name=step.name, timeout_seconds=step.timeout
                )
                stages[step.name] = patiently(client.stages.CreateStage, request, self._deadline)
        return stages

    def _run_stage(self, step: Step, stage: PipelineStage) -> str:
        """Run one; answers why it failed, nothing when it did not."""
        request = StartStageRequest(stage=self._renewed(stage).id, lease=self._lease)
        stage = patiently(self._session.client.stages.StartStage, request, self._deadline)
        note(f"relman: stage {step.name}")
        job = Job(self._session, stage, self._lease, quiet=self._quiet)
        limit = min((seconds for seconds in (step.timeout, stage.timeout_seconds) if seconds), default=0)
        status = self._run_command(job, step, limit)
        failure = f"stage {step.name}: {job.ending}" if status else ""
        if self._is_overdue:
            failure = f"stage {step.name}: it took longer than {exact(timedelta(seconds=limit))}"
            self._is_over = 0 < stage.timeout_seconds <= limit and self._server_ends_it()
        failure = self._interruption or failure
        if failure and self._is_stopped:
            job.fail(failure)
        if self._refusal is not None or self._is_over:
            job.end_log(min(self._patience, _HASTE))
            return failure
        deadline = self._deadline
        job.end_log(deadline - time.monotonic())
        job.complete(deadline)
        return failure

    def _renewed(self, stage: PipelineStage) -> PipelineStage:
        """The stage, to be started: what somebody who was taken over was at, or had failed at, begins again."""
        stages = self._session.client.stages
        if stage.status == StageStatus.STAGE_STATUS_RUNNING:
            given_up = CompleteStageRequest(
                stage=stage.id, outcome=Outcome.OUTCOME_FAILED, output="another pipeline took over", lease=self._lease
            )
            stage = patiently(stages.CompleteStage, given_up, self._deadline)
        if stage.status in UNSUCCESSFUL:
            again = RetryStageRequest(stage=stage.id, lease=self._lease)
            stage = patiently(stages.RetryStage, again, self._deadline)
        return stage

    def _run_command(self, job: Job, step: Step, limit: int) -> int:
        """Run a stage's command for so many seconds at most, 0 for no limit; answers its exit status."""
        reins = Reins()
        self._reins = reins
        if self._is_stopped:  # since nobody held the reins
            reins.end()
        clock = threading.Timer(limit, self._time_out)
        clock.daemon = True
        if limit:
            clock.start()
        try:
            return job.run(step.command, reins, self._environment(step), step.typed)
        finally:
            self._reins = None
            clock.cancel()

    def _environment(self, step: Step) -> dict[str, str]:
        deployment = self._deployment
        return {
            **os.environ,
            **step.environment,
            "RELMAN_DEPLOYMENT": deployment.id,
            "RELMAN_STAGE": step.name,
            "RELMAN_RELEASE": f"{deployment.service_name}@{deployment.release_version}",
            "RELMAN_ENVIRONMENT": deployment.environment_name,
            "RELMAN_SERVER": self._session.server,
        }

    @property
    def _deadline(self) -> float:
        """Until when a call is worth repeating, by the monotonic clock."""
        return time.monotonic() + (min(self._patience, _HASTE) if self._signal else self._patience)

    @property
    def _is_stopped(self) -> bool:
        return bool(self._signal) or self._refusal is not None or self._is_overdue

    @property
    def _interruption(self) -> str:
        return f"interrupted by {signal.Signals(self._signal).name}" if self._signal else ""

    def _heed(self, number: int) -> None:
        """A signal came: end the command. When there is none, the second one ends what relman waits for."""
        reins, again = self._reins, bool(self._signal)
        self._signal = self._signal or number
        if again if reins is None else reins.is_slack:
            raise KeyboardInterrupt
        if reins is not None:
            reins.end(number)

    def _lose(self, error: RelmanError) -> None:
        """The deployment is not ours any more. In the keeper's thread."""
        note(f"relman: the lease is lost: {sentence(error)}")
        self._refusal = error
        self._end_command()

    def _time_out(self) -> None:
        """The stage took too long. In a thread of its own."""
        self._is_overdue = True
        self._end_command()

    def _end_command(self) -> None:
        reins = self._reins
        if reins is not None:
            reins.end()

    def _server_ends_it(self) -> bool:
        """Whether the server fails the deployment because of an overdue stage, as it does in a moment when it is up."""
        deadline = time.monotonic() + min(self._patience, _VERDICT)
        while time.monotonic() < deadline:
            try:
                if self._look().status in FINAL:
                    return True
            except RelmanError as error:
                if not error.is_passing:
                    return False
            time.sleep(0.3)
        return False

    def _look(self) -> pb.Deployment:
        request = pb.GetDeploymentRequest(deployment=self._deployment.id)
        return self._session.client.deployments.GetDeployment(request, timeout=5)

    def _end(self, failure: str) -> int:
        """Complete the deployment, unless it is not ours to complete; answers the exit status."""
        if self._refusal is None and not self._is_over:
            try:
                self._complete(failure)
            except RelmanError as error:
                if error.is_passing:
                    note(f"relman: the deployment's end could not be reported: {sentence(error)}")
                    return exits.FAILED if failure else exits.OTHER
                self._refusal = error
            else:
                note(f"relman: the deployment failed: {failure}" if failure else "relman: the deployment succeeded")
                return exits.FAILED if failure else exits.SUCCEEDED
        return self._explain(failure)

    def _complete(self, failure: str) -> None:
        request = pb.CompleteDeploymentRequest(
            deployment=self._deployment.id,
            outcome=Outcome.OUTCOME_FAILED if failure else Outcome.OUTCOME_SUCCEEDED,
            failure_reason=failure[:1_000],
            production_impacted=bool(failure) and self._impacted,
            lease=self._lease,
        )
        patiently(self._session.client.deployments.CompleteDeployment, request, self._deadline)

    def _explain(self, failure: str) -> int:
        """Say what became of a deployment that is not ours to complete; answers the exit status."""
        refusal = self._refusal
        if refusal is not None and refusal.reason == "WRITER_FENCED":
            note(f"relman: {sentence(refusal)}")
            return exits.OTHER
        request = pb.GetDeploymentRequest(deployment=self._deployment.id)
        found = patiently(self._session.client.deployments.GetDeployment, request, self._deadline)
        if found.status in FINAL:
            note(f"relman: {ended(found)}")
            return exits.exit_of(found.status)
        if refusal is not None and not failure:  # it may not succeed, so it fails
            self._refusal = None
            return self._end(sentence(refusal))
        if refusal is not None:
            note(f"relman: {sentence(refusal)}")
        return exits.OTHER
