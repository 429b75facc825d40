"""`auto`: learns the residual picture or the KPI vector where there is one, the score where there is none."""
