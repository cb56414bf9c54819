"""FairMOT: the network, its losses, the conversion of published weights, and the metrics of tracking."""
