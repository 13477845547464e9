/*-------------------------------------------------------------------------
 *
 * scribe_capture.h
 *	  The statement that is running, for the event triggers of sql/capture.sql.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SCRIBE_CAPTURE_H
#define SCRIBE_CAPTURE_H

/* Install the ProcessUtility hook and the setting scribe.facts; from _PG_init(). */
extern void scribe_capture_init(void);

/* The statement at location in a query string, without blanks around it. */
extern char *statement_text(const char *query, int location, int length);

#endif
