"""When and on what flows run: plan and apply, automations, work pools, and the services of one machine."""
