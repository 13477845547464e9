# What the Makefiles of both libraries share; LIBRARY, PARTS and HEADERS name what differs.
SRC = $(if $(VPATH),$(VPATH),.)

MODULE_big = $(LIBRARY)
OBJS = $(addsuffix .o,$(PARTS) statement_text)
SHLIB_EXPORTS = exports.txt
EXTRA_CLEAN = exports.list
PG_CPPFLAGS = -I$(SRC)/..

with_llvm = no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
override with_llvm = no
# the server may have been built with an awk that is not here; exports.txt needs nothing special
override AWK = awk

vpath statement_text.c $(SRC)/..
$(OBJS): $(addprefix $(SRC)/,$(HEADERS) ../compat.h ../statement_text.h)
