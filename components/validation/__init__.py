"""The data's gate: Great Expectations on the tables, or the run stops."""

import os

# Great Expectations reads it when it is first imported, which is below this package: nothing is sent anywhere.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
