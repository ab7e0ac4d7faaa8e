"""What answers for AWS and for other people's servers when the example workflows run on this machine.

`durableflow.yaml` says which function answers what. An action's function gets its parameters, a request's function the
request; with a second argument it gets the step context, too, which knows the number of the attempt.
"""
