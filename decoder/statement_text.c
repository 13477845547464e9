/*
 * statement_text.c
 *	  One statement's text, out of the string that holds it.
 */
#include "postgres.h"

#include "statement_text.h"

/* The statement at location in a query string, without blanks around it; copied to the current context. */
char *
statement_text(const char *query, int location, int length)
{
	const char *start = query;
	const char *end;

	if (location >= 0)
	{
		start = query + location;
		end = length > 0 ? start + length : start + strlen(start);
	}
	else
		end = start + strlen(start);
	while (start < end && strchr(" \t\n\r\f\v", *start) != NULL)
		start++;
	while (end > start && strchr(" \t\n\r\f\v;", end[-1]) != NULL && end[-1] != '\0')
		end--;
	return pnstrdup(start, end - start);
}
