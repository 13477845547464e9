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

#endif
