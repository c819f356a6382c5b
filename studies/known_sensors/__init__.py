"""How far models are from sensors of known likelihood: python -m studies.known_sensors.

Models are trained on noise of sensors whose exact likelihood is known, on the clean patches of the
offline dataset, and scored on held-out draws. No model has a lower expected NLL than the sensor
itself; what a model is above, in nats per dimension, is its gap to the truth. It is decomposed into

- marginal: the divergence between the distributions of single values. Without levels, of noise
  divided by the sensor's standard deviation, in histograms by condition and eighth of intensity,
  less what counting alone gives; with levels, whose pixels are independent here, the truth's log
  mass less that of a Gaussian of the model's own variance in the same steps;
- dequantisation, for sensors with levels: what that Gaussian's density loses on noise that has
  uniform noise of a step added, above its mass in the steps;
- correlation: the rest, which for models far from the truth has what histograms do not resolve,
  and for marginals of a model that are not Gaussian, with levels, their gain or loss.

A study, not an option of the evaluation: it trains models, and needs sensors that no dataset has.
"""
