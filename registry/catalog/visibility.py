"""The trigger by which servers, systems and agents are as confidential as the rules say, whoever writes them.

What a rule keeps from others must not depend on every service, import and bulk statement remembering to ask. So the
database asks, before a row is written: a mark by hand stays; else the rule of its team, then that of its environment,
says why it is confidential; without either it is not. Services reckon the same beforehand (`settle_visibility`), so
that what they hold, record and answer is what is stored.
"""

import pgtrigger

RULES = "catalog_visibilityrule"
SETTLED_BY = ("confidential", "confidential_because", "team_id", "environment")


def settled() -> pgtrigger.Trigger:
    """For a governed model. Writing `confidential` alone is a mark by hand, or takes it away."""
    return pgtrigger.Trigger(
        name="visibility_settled",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.UpdateOf(*SETTLED_BY),
        func=f"""
            IF NEW.confidential <> (NEW.confidential_because <> '') THEN
                NEW.confidential_because := CASE WHEN NEW.confidential THEN 'marked' ELSE '' END;
            END IF;
            IF NEW.confidential_because <> 'marked' THEN
                NEW.confidential_because := CASE
                    WHEN EXISTS (SELECT FROM {RULES} WHERE dropped_at IS NULL AND team_id = NEW.team_id)
                    THEN 'team'
                    WHEN EXISTS (SELECT FROM {RULES} WHERE dropped_at IS NULL AND environment = NEW.environment)
                    THEN 'environment'
                    ELSE ''
                END;
            END IF;
            NEW.confidential := NEW.confidential_because <> '';
            RETURN NEW;
        """,  # noqa: S608 - our own names
    )
