/*
 * statement_text.h
 *	  One statement's text, out of the string that holds it; both libraries have it.
 */
#ifndef SCRIBE_STATEMENT_TEXT_H
#define SCRIBE_STATEMENT_TEXT_H

extern char *statement_text(const char *query, int location, int length);

#endif							/* SCRIBE_STATEMENT_TEXT_H */
