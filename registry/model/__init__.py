"""The nouns every layer shares: frozen values, no IO, nothing but the standard library.

``facts``       what one cluster says (Service, EndpointSlice, Pod, Node, Namespace)
``events``      how a source says it (Init, InitApply, InitDone, Apply, Delete)
``services``    what the registry believes over all clusters (MergedService, Endpoint)
``status``      how a source is doing, apart from what it says
``conditions``  what is true of a cluster or a service just now, with reason and time
``standing``    how much is believed of a whole cluster
"""
