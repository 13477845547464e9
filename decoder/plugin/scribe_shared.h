/*
 * scribe_shared.h
 *	  What the decoder knows of the cluster's shared catalogs: facts, one for
 *	  each row or part of one, sorted, so that two states can be compared.
 */
#ifndef SCRIBE_SHARED_H
#define SCRIBE_SHARED_H

#include "scribe_decoder.h"

typedef enum FactKind
{
	FACT_ROLE,					/* a: role; value: its name */
	FACT_ATTRIBUTES,			/* a: role; value: what ALTER ROLE WITH takes */
	FACT_ROLE_COMMENT,			/* a: role; value: a literal */
	FACT_ROLE_SETTING,			/* a: role; key: setting; value: its literals */
	FACT_MEMBER,				/* a: group, b: member, c: grantor; value: options */
	FACT_SPACE,					/* a: tablespace; value: its name */
	FACT_SPACE_OWNER,			/* a: tablespace, b: role */
	FACT_SPACE_OPTIONS,			/* a: tablespace; value: as ALTER TABLESPACE SET takes them */
	FACT_SPACE_COMMENT,			/* a: tablespace; value: a literal */
	FACT_SPACE_GRANT,			/* a: tablespace, b: grantee, c: with grant option; value: privileges */
	FACT_OWNER,					/* of this database.  b: role */
	FACT_LIMIT,					/* value: connections */
	FACT_COMMENT,				/* value: a literal */
	FACT_GRANT,					/* b: grantee, c: with grant option; value: privileges */
	FACT_SETTING				/* a: role or 0; key: setting; value: its literals */
} FactKind;

typedef struct Fact
{
	FactKind	kind;
	Oid			a;
	Oid			b;
	Oid			c;
	const char *key;
	const char *value;			/* NULL: there, but not known how */
} Fact;

typedef struct Facts
{
	MemoryContext cxt;
	int			n;
	int			room;
	Fact	   *items;
} Facts;

extern const char *fact_name(Facts *facts, FactKind kind, Oid oid);
extern int	compare_fact_keys(const Fact *x, const Fact *y);

/* scribe_roles.c */
extern void write_shared(ScribeState *state, Facts *was, Facts *now);

#endif							/* SCRIBE_SHARED_H */
