"""The offline dataset: a stand-in for SIDD, made from ordinary pictures and sensor physics."""
