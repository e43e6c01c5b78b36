"""Linear attenuation coefficients of the materials a phantom is made of.

Values are mass attenuation coefficients at 60 keV, about the mean energy behind the patient of a 120 kV beam,
times the density, both from Hubbell & Seltzer, *Tables of X-Ray Mass Attenuation Coefficients*, NISTIR 5632
(NIST Standard Reference Database 126), compositions of ICRU Report 44. All in 1/cm.
"""

SOFT_TISSUE = 0.2048 * 1.06
"""Muscle, blood, liver, consolidated lung."""

ADIPOSE = 0.1974 * 0.95
"""Fat; the breast is taken as fat with some gland."""

CORTICAL_BONE = 0.3148 * 1.92
"""The shell of every bone."""

SPONGY_BONE = 0.85 * SOFT_TISSUE + 0.15 * CORTICAL_BONE
"""Trabecular bone: marrow with 15 % of its volume cortical."""

LUNG = 0.2053 * 0.26
"""Lung at full inspiration (density 0.26 g/cm³)."""

AIR = 0.1875 * 1.205e-3
"""Air in the trachea, the bowel and around the patient."""

METAL = 3.0
"""Wires and electrodes: an effective value for thin, mixed parts, not a single element's."""
