"""Measurements that choices in this project rest on."""
