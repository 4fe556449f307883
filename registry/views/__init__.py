"""What each audience sees, rendered from merged services. Pure: values in, bytes or plain data out.

``names``          the names of things: hosts, clusters, domains
``protocol``       what a Service port speaks
``cds`` ``eds`` ``lds`` ``rds``  one module per xDS type
``resources``      all xDS resources of one service
``service_entry``  Istio's ServiceEntry
``lookup``         the messages of the lookup API
``summary``        plain documents for the HTTP API and the command line
``bootstrap``      the file an Envoy or a gRPC client starts from
"""
