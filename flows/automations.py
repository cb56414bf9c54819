"""What the Prefect server does by itself: automations as code, registered by `sightline up`."""

from datetime import timedelta

from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

OWN = ("WrongRequest", "MayPass")  # events carry the state's name, and these are the training flow's own
HEARTBEAT = "prefect.flow-run.heartbeat"  # every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds, see environment.py
SILENCE = timedelta(seconds=100)  # three beats that did not come
ENDED = tuple(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", *OWN))


def silent_runs_crashed(silence: timedelta = SILENCE) -> Automation:
    """Marks a flow run as crashed whose process was killed: it has sent a heartbeat, and neither more nor its end."""
    return Automation(
        name="sightline: a run that fell silent has crashed",
        description="The run's process was killed, or its machine is gone. Run it again: it goes on where it was.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDED},
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no sign of life for {silence.total_seconds():.0f} s: run again to go on where it stopped",
            )
        ],
    )


def register(automations: list[Automation]) -> None:
    """Makes the server have these, each as it is here: one of the same name that differs is replaced."""
    with get_client(sync_client=True) as client:
        for automation in automations:
            known = client.read_automations_by_name(automation.name)
            wanted = automation.model_dump(exclude={"id"})
            if len(known) == 1 and known[0].model_dump(include=set(wanted)) == wanted:
                continue
            for old in known:
                client.delete_automation(old.id)
            automation.create()
