"""x"""

from nnunet_mgcl.convert.engine_sitk import align
